"""The table for people, as wide as it needs or as wide as their terminal. Numbers are never cut.

Where there is no room, in this order until it fits: what is the same in all rows is said once above; columns move together; trials become
headings over their rows; columns of lesser weight are left out, and named; the verdict is its mark alone; words wrap.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from dashboards.columns import SPARE, Column, columns_of, marks, ordered, silent_axes
from dashboards.printed import MARKS, Row, Rows

if TYPE_CHECKING:
    from rich.console import Console
    from rich.padding import Padding

_INDENT = 2
_KEPT = ("before", "after", "delta", "interval", "verdict")
"""What a table is read for stays a column, also where it is the same everywhere."""


def to_table(
    rows: Rows,
    *,
    labels: Sequence[str] = ("attack", "metric"),
    leading: Sequence[str] = (),
    width: int | None = None,
    color: bool = False,
) -> bytes:
    """A table for a terminal, in the order of its axes: short keys and values, four digits, a mark beside each verdict.

    Args:
        labels: the columns behind the axes that say what was measured.
        leading: keys of the trials to begin with.
        width: columns of the terminal; with None one line a row, as wide as the table needs.
        color: with ANSI colours.
    """
    from rich.console import Console

    text = io.StringIO()
    console = Console(
        file=text, width=10_000, color_system="standard" if color else None, force_terminal=color, legacy_windows=False, highlight=False
    )
    whole = Layout(tuple(columns_of(rows, labels)))
    if not rows:
        console.print("no trial is done yet")
    elif width is None:
        _draw(console, whole, rows=ordered(rows, labels, leading))
    else:
        found = ordered(rows, labels, leading)
        layout = _fitting(_said_once(whole, found, silent_axes(rows, labels[0])), found, width)
        console.width = width
        for note in layout.notes:
            console.print(note, markup=False)
        if layout.notes:
            console.print()
        console.width = 10_000
        _draw(console, layout, found, width)
    return ("\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n").encode()


@dataclass(frozen=True)
class Layout:
    """How a table is laid out.

    Attributes:
        notes: lines above it.
        heading: columns whose values stand over the rows that share them.
        gap: spaces between columns.
        wraps: texts may take several lines.
    """

    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()
    heading: tuple[Column, ...] = ()
    gap: int = 2
    wraps: bool = False

    def width(self, rows: Rows) -> int:
        return sum(_width(column, rows) for column in self.columns) + self._between()

    def widths(self, rows: Rows, most: int | None) -> list[int]:
        """Of its columns. Where texts wrap the widest give way, as far as their longest word."""
        found = [_width(column, rows) for column in self.columns]
        if self.wraps and most is not None:
            least = [_longest_word(column, rows) for column in self.columns]
            while sum(found) + self._between() > most and found != least:
                widest = max((place for place in range(len(found)) if found[place] > least[place]), key=lambda place: found[place])
                found[widest] -= 1
        return found

    def _between(self) -> int:
        return self.gap * (len(self.columns) - 1) + (_INDENT if self.heading else 0)


def _fitting(layout: Layout, rows: Rows, width: int) -> Layout:
    """The first layout that fits; the narrowest where none does."""
    last = layout
    for last in _layouts(layout):
        if last.width(rows) <= width:
            break
    return last


def _layouts(layout: Layout) -> Iterator[Layout]:
    """From the most readable to the narrowest."""
    yield layout
    yield (layout := replace(layout, gap=1))
    if layout.columns[0].head == "trial":
        heading = tuple(column for column in layout.columns if column.is_place)
        layout = replace(layout, columns=tuple(column for column in layout.columns if not column.is_place), heading=heading)
        yield replace(layout, gap=2)
        yield layout
    notes, left_out = layout.notes, list[str]()
    for name in SPARE:
        if any(column.head == name for column in layout.columns):
            left_out.append(name)
            told = f"no room here for: {'; '.join(left_out)} (a wider terminal, -o FILE or --format csv)"
            columns = tuple(column for column in layout.columns if column.head != name)
            yield (layout := replace(layout, columns=columns, notes=(*notes, told)))
    if any(column.head == "verdict" for column in layout.columns):
        told = ", ".join(f"{mark} {verdict}" for verdict, mark in MARKS.items())
        columns = tuple(marks() if column.head == "verdict" else column for column in layout.columns)
        yield (layout := replace(layout, columns=columns, notes=(*layout.notes, f"verdicts: {told}")))
    if not layout.heading:
        yield replace(layout, wraps=True)


def _said_once(layout: Layout, rows: Rows, axes: dict[str, str]) -> Layout:
    """What is the same in all rows, above them."""
    same = dict(axes)
    columns = []
    for column in layout.columns:
        values = {column.cell(row) for row in rows}
        if len(rows) > 1 and len(values) == 1 and column.head not in _KEPT and column.head != "trial":
            same |= {column.head: values.pop()}
        else:
            columns.append(column)
    told = ", ".join(f"{name} {value}" if value else f"no {name}" for name, value in same.items())
    notes = (f"in all rows: {told}",) if same else ()
    return replace(layout, columns=tuple(columns), notes=notes)


def _width(column: Column, rows: Rows) -> int:
    from rich.cells import cell_len

    return max(cell_len(text) for text in (column.head, *(column.cell(row) for row in rows)))


def _longest_word(column: Column, rows: Rows) -> int:
    from rich.cells import cell_len

    return max(cell_len(word) for text in (column.head, *(column.cell(row) for row in rows)) for word in (text.split() or [""]))


def _draw(console: Console, layout: Layout, rows: Rows, width: int | None = None) -> None:
    widths = layout.widths(rows, width)
    if not layout.heading:
        console.print(_table(layout, rows, widths))
        return
    console.print(_table(layout, (), widths))
    for number, (told, group) in enumerate(groupby(rows, key=lambda row: _heading(layout, row))):
        if number:
            console.print()
        console.print(told, style="bold", markup=False, soft_wrap=True)
        console.print(_table(layout, list(group), widths, head=False))


def _heading(layout: Layout, row: Row) -> str:
    first, *axes = layout.heading
    told = ", ".join(f"{column.head} {column.cell(row)}" for column in axes if column.cell(row))
    return f"{first.head} {first.cell(row)}{f': {told}' if told else ''}"


def _table(layout: Layout, rows: Rows, widths: Sequence[int], *, head: bool = True) -> Padding:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, show_header=head, padding=(0, layout.gap, 0, 0))
    for column, width in zip(layout.columns, widths, strict=True):
        table.add_column(column.head, justify="right" if column.right else "left", no_wrap=not layout.wraps, width=width)
    for row in rows:
        table.add_row(*(Text(column.cell(row), style=column.style(row)) for column in layout.columns))
    return Padding(table, (0, 0, 0, _INDENT if layout.heading else 0))
