"""Flat rows as they are printed: a table for a terminal, Markdown and LaTeX. Four digits, intervals in one column."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dashboards.words import value_words
from jobs.keys import canonical_json

Row = Mapping[str, Any]
Rows = Sequence[Row]

MARKS = {"amplified": "▲", "reduced": "▼", "none": "–", "inverted": "⇅"}
HEADS = {"p_holm": "p (Holm)", "p_value": "p"}
INTERVALS = {
    "interval": ("delta_low", "delta_high"),
    "domains, images, seeds": ("hierarchical_low", "hierarchical_high"),
    "these domains": ("these_domains_low", "these_domains_high"),
}
"""Two columns that are printed as one."""
MAX_VALUE = 28
"""Letters of an axis's value in the table for people; the other formats hold it whole."""
STYLES = {"amplified": "bold red", "reduced": "blue", "none": "dim", "inverted": "magenta"}
BESIDE = ("p_holm", "p_value", "comparisons", "against", "domains", "images")
"""What the table for people shows beside the numbers, where rows have it."""

COUNTS = (
    *("comparisons", "against", "domains", "trials", "images", "candidates"),
    *("n_member", "n_non_member", "n_pairs", "n_rejected", "n_controls"),
)
NUMBERS = ("before", "after", "delta", *INTERVALS, "p_holm", "p_value", *COUNTS)


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
        width: columns of the terminal; as wide as the table needs when None.
        color: with ANSI colours.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = _columns(rows, labels)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.head, justify="right" if column.right else "left", no_wrap=True)
    for row in _ordered(rows, labels, leading):
        table.add_row(*(Text(column.cell(row), style=column.style(row)) for column in columns))
    text = io.StringIO()
    console = Console(
        file=text, width=width or 10_000, color_system="standard" if color else None, force_terminal=color, legacy_windows=False
    )
    console.print(table if rows else "no trial is done yet")
    return ("\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n").encode()


@dataclass(frozen=True)
class _Column:
    """A column of the terminal's table."""

    head: str
    cell: Callable[[Row], str]
    right: bool = True
    style: Callable[[Row], str] = lambda row: ""


def _columns(rows: Rows, labels: Sequence[str]) -> list[_Column]:
    first = rows[0] if rows else {}
    columns = [_Column("trial", lambda row: str(row["trial_key"])[:10], right=False)] if "trial_key" in first else []
    columns += [_Column(name, lambda row, name=name: _short(row[name]), right=False) for name in _axes(rows, labels[0])]  # type: ignore[misc]
    columns += [_Column(name, lambda row, name=name: str(row[name]), right=False) for name in labels]  # type: ignore[misc]
    numbers = [*("before", "after", "delta", "interval"), *(name for name in BESIDE if name in first)]
    columns += [_number_column(name) for name in numbers]
    if "verdict" in first:
        columns.append(_Column("verdict", _verdict, right=False, style=lambda row: STYLES.get(row["verdict"], "")))
    return columns + [_number_column(head) for head, (low, _) in INTERVALS.items() if head != "interval" and low in first]


def _number_column(name: str) -> _Column:
    return _Column(HEADS.get(name, name), lambda row: _cell(name, row))


def _ordered(rows: Rows, labels: Sequence[str], leading: Sequence[str]) -> Rows:
    """By axes, trial and labels, where rows are of trials; else as they come."""
    if not rows or "trial_key" not in rows[0]:
        return rows
    names = (*_axes(rows, labels[0]), "trial_key", *labels)
    ranks = {key: rank for rank, key in enumerate(leading)}
    return sorted(rows, key=lambda row: (ranks.get(row["trial_key"], len(ranks)), [_place(row[name]) for name in names]))


def _verdict(row: Row) -> str:
    verdict = row["verdict"]
    return f"{MARKS[verdict]} {verdict}" if verdict else ""


def to_markdown(rows: Rows, columns: Sequence[str] = ()) -> bytes:
    """A Markdown table: four digits, nothing where there is no value; an interval is one column."""
    header, body = _printed(rows, columns)
    lines = [header, ["---:" if _is_number(name) else "---" for name in header], *body]
    return ("\n".join(f"| {' | '.join(map(_marked, line))} |" for line in lines) + "\n").encode()


def to_latex(rows: Rows, columns: Sequence[str] = ()) -> bytes:
    """A `tabular` of the booktabs package, with the same cells."""
    header, body = _printed(rows, columns)
    shape = "".join("r" if _is_number(name) else "l" for name in header)
    lines = [" & ".join(map(_tex, line)) + r" \\" for line in [header, *body]]
    parts = [rf"\begin{{tabular}}{{{shape}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"]
    return ("\n".join(parts) + "\n").encode()


def _is_number(column: str) -> bool:
    return column in NUMBERS


def _printed(rows: Rows, columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and cells as they are printed: the ends of an interval in one column, keys in ten letters."""
    heads = {low: head for head, (low, _) in INTERVALS.items()}
    highs = {high for _, high in INTERVALS.values()}
    header = [heads.get(name, name) for name in (rows[0] if rows else columns) if name not in highs]
    return header, [[_cell(name, row) for name in header] for row in rows]


def _cell(name: str, row: Row) -> str:
    if name in INTERVALS:
        low, high = INTERVALS[name]
        return interval(row[low], row[high])
    value = row[name]
    if name == "trial_key":
        return str(value)[:10]
    if name == "delta":
        return signed(value)
    if name in NUMBERS:
        return number(value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _marked(text: str) -> str:
    """Text in which Markdown sees no cell, no tag and no picture that a reader's browser would fetch."""
    return text.replace("<", "&lt;").replace("|", r"\|").replace("![", r"!\[").replace("](", r"\](")


def _tex(text: str) -> str:
    """Text in which LaTeX sees no command."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$"}
    return "".join(special.get(letter, rf"\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


def _place(value: Any) -> tuple[int, float, str]:
    """Where a value stands among others: nothing first, then numbers by size, then words."""
    if value is None:
        return 0, 0.0, ""
    return (1, float(value), "") if isinstance(value, int | float) else (2, 0.0, str(value))


def _short(value: Any) -> str:
    """A value in a few letters; structured ones come as their JSON text."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        with suppress(json.JSONDecodeError):
            value = json.loads(value)
    text = "" if value is None else value_words(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def number(value: float | None) -> str:
    """Four digits; counts are whole."""
    return "" if value is None else (str(value) if isinstance(value, int) else f"{value:.4f}").replace("-", "−")


def signed(value: float | None) -> str:
    """The same with a sign; zero alone has none."""
    text = "" if value is None else (f"{value:+d}" if isinstance(value, int) else f"{value:+.4f}").replace("-", "−")
    return text if value else text.lstrip("+−")


def interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def _axes(rows: Rows, first_label: str) -> list[str]:
    """Axes that say something: those on which rows differ."""
    names = list(rows[0]) if rows else []
    axes = names[1 : names.index(first_label)] if names and names.index(first_label) else []
    return [name for name in axes if len({canonical_json(row[name]) for row in rows}) > 1] or axes
