"""Flat rows as a table for people, CSV, JSON and Parquet. The same rows give the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dashboards.words import value_words
from jobs.keys import canonical_json

Rows = Sequence[Mapping[str, Any]]

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


@dataclass(frozen=True)
class Table:
    """Rows of one kind, and of how many trials they should be.

    Attributes:
        columns: of the rows, also where there is none yet.
        labels: the columns behind the axes that say what was measured.
        asked, missing: trials that the table is about, and those of them that are not in it.
        leading: keys of the trials that the table for people begins with, in their order.
    """

    rows: Rows
    columns: Sequence[str]
    labels: Sequence[str]
    asked: int
    missing: int
    leading: Sequence[str] = ()


def by_trial(rows: Rows, columns: Sequence[str], labels: Sequence[str], asked: set[str], *, leading: Sequence[str] = ()) -> Table:
    """A table whose rows each belong to a trial.

    Args:
        asked: keys of the trials that are to have rows.
    """
    return Table(rows, columns, labels, len(asked), len(asked - {row["trial_key"] for row in rows}), leading)


def write(table: Table, form: str, *, color: bool = False) -> bytes:
    """The table as `table` (for people), `csv`, `json`, `parquet`, `markdown` or `latex`."""
    match form:
        case "json":
            return to_json(table.rows)
        case "csv":
            return to_csv(table.rows, table.columns)
        case "parquet":
            return to_parquet(table.rows, table.columns)
        case "markdown":
            return to_markdown(table.rows, table.columns)
        case "latex":
            return to_latex(table.rows, table.columns)
        case _:
            return to_table(table.rows, labels=table.labels, leading=table.leading, color=color)


def to_json(rows: Rows) -> bytes:
    """One JSON list, a row a line; floats by repr."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    return (f"[\n{lines}\n]\n" if rows else "[]\n").encode()


def to_csv(rows: Rows, columns: Sequence[str] = ()) -> bytes:
    """Comma-separated with a header; floats by repr, nothing where there is no value.

    Args:
        columns: the header where there is no row.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if rows or columns:
        writer.writerow(rows[0] if rows else columns)
        writer.writerows([_csv_text(value) for value in row.values()] for row in rows)
    return text.getvalue().encode()


def to_parquet(rows: Rows, columns: Sequence[str] = ()) -> bytes:
    """One row group; a column's type comes from its values.

    Args:
        columns: the columns where there is no row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    filled = {name: _column(pa, [row[name] for row in rows]) for name in (rows[0] if rows else columns)}
    sink = io.BytesIO()
    pq.write_table(pa.table(filled), sink, compression="zstd")
    return sink.getvalue()


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

    first: Mapping[str, Any] = rows[0] if rows else {}
    axes, keyed, judged = _axes(rows, labels[0]), "trial_key" in first, "verdict" in first
    more = [name for name in ("p_holm", "p_value", "comparisons", "against", "domains", "images") if name in first]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (*(["trial"] if keyed else []), *axes, *labels):
        table.add_column(name, no_wrap=True)
    for name in (
        "before",
        "after",
        "delta",
        "interval",
        *(HEADS.get(name, name) for name in more),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    if judged:
        table.add_column("verdict", no_wrap=True)
    within = [ends for ends in list(INTERVALS.values())[1:] if ends[0] in first]
    for head, ends in INTERVALS.items():
        if ends in within:
            table.add_column(head, justify="right", no_wrap=True)
    ranks = {key: rank for rank, key in enumerate(leading)}
    ordered = sorted(rows, key=lambda row: [_place(row[name]) for name in (*axes, "trial_key", *labels)]) if keyed else list(rows)
    for row in sorted(ordered, key=lambda row: ranks.get(row["trial_key"], len(ranks))) if keyed else ordered:
        words = [*([row["trial_key"][:10]] if keyed else []), *(_short(row[name]) for name in axes), *(row[name] for name in labels)]
        numbers = [number(row["before"]), number(row["after"]), signed(row["delta"]), interval(row["delta_low"], row["delta_high"])]
        numbers += [number(row[name]) for name in more]
        last = [Text(interval(row[low], row[high])) for low, high in within]
        table.add_row(*(Text(word) for word in [*words, *numbers]), *([_verdict(Text, row["verdict"])] if judged else []), *last)
    text = io.StringIO()
    console = Console(
        file=text, width=width or 10_000, color_system="standard" if color else None, force_terminal=color, legacy_windows=False
    )
    console.print(table if rows else "no trial is done yet")
    return ("\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n").encode()


def _verdict(text: Any, verdict: str | None) -> Any:
    return text(f"{MARKS[verdict]} {verdict}", style=STYLES[verdict]) if verdict else text("")


def to_markdown(rows: Rows, columns: Sequence[str] = ()) -> bytes:
    """A Markdown table: four digits, nothing where there is no value; an interval is one column."""
    header, body = _printed(rows, columns)
    lines = [header, ["---:" if _is_number(name) else "---" for name in header], *body]
    return ("\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n").encode()


def to_latex(rows: Rows, columns: Sequence[str] = ()) -> bytes:
    """A `tabular` of the booktabs package, with the same cells."""
    header, body = _printed(rows, columns)
    shape = "".join("r" if _is_number(name) else "l" for name in header)
    lines = [" & ".join(map(_tex, line)) + r" \\" for line in [header, *body]]
    parts = [rf"\begin{{tabular}}{{{shape}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"]
    return ("\n".join(parts) + "\n").encode()


_COUNTS = (
    *("comparisons", "against", "domains", "trials", "images", "candidates"),
    *("n_member", "n_non_member", "n_pairs", "n_rejected", "n_controls"),
)
_NUMBERS = ("before", "after", "delta", *INTERVALS, "p_holm", "p_value", *_COUNTS)


def _is_number(column: str) -> bool:
    return column in _NUMBERS


def _printed(rows: Rows, columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and cells as they are printed: the ends of an interval in one column, keys in ten letters."""
    heads = {low: head for head, (low, _) in INTERVALS.items()}
    highs = {high for _, high in INTERVALS.values()}
    header = [heads.get(name, name) for name in (rows[0] if rows else columns) if name not in highs]
    return header, [[_cell(name, row) for name in header] for row in rows]


def _cell(name: str, row: Mapping[str, Any]) -> str:
    if name in INTERVALS:
        low, high = INTERVALS[name]
        return interval(row[low], row[high])
    value = row[name]
    if name == "trial_key":
        return str(value)[:10]
    if name == "delta":
        return signed(value)
    if isinstance(value, float):
        return number(value) if name in _NUMBERS else f"{value:g}"
    return "" if value is None else str(value)


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
    """The same with a sign."""
    return "" if value is None else (f"{value:+d}" if isinstance(value, int) else f"{value:+.4f}").replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def _axes(rows: Rows, first_label: str) -> list[str]:
    """Axes that say something: those on which rows differ."""
    names = list(rows[0]) if rows else []
    axes = names[1 : names.index(first_label)] if names and names.index(first_label) else []
    return [name for name in axes if len({canonical_json(row[name]) for row in rows}) > 1] or axes


def _csv_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _column(pa: Any, values: list[Any]) -> Any:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        return pa.array(values, pa.string())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int}:
        return pa.array(values, pa.int64())
    if kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(
        [None if value is None else value if isinstance(value, str) else canonical_json(value) for value in values], pa.string()
    )
