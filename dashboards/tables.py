"""Flat rows as files: JSON, CSV and Parquet, and the forms of `printed`. The same rows give the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.printed import Rows, to_latex, to_markdown
from dashboards.terminal import to_table
from jobs.keys import canonical_json


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


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so is a formula to a spreadsheet; one with an apostrophe before it is a text."""


def by_trial(rows: Rows, columns: Sequence[str], labels: Sequence[str], asked: set[str], *, leading: Sequence[str] = ()) -> Table:
    """A table whose rows each belong to a trial.

    Args:
        asked: keys of the trials that are to have rows.
    """
    return Table(rows, columns, labels, len(asked), len(asked - {row["trial_key"] for row in rows}), leading)


def write(table: Table, form: str, *, color: bool = False, width: int | None = None) -> bytes:
    """The table as `table` (for people), `csv`, `json`, `parquet`, `markdown` or `latex`.

    Args:
        color: a `table` with ANSI colours.
        width: columns that a `table` has room for; None: as many as it needs.
    """
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
            return to_table(table.rows, labels=table.labels, leading=table.leading, width=width, color=color)


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


def _csv_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


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
