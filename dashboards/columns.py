"""The columns of the table for people, and the order of its rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dashboards.printed import INTERVALS, MARKS, Row, Rows, cell
from dashboards.words import value_words
from jobs.keys import canonical_json

HEADS = {"p_holm": "p (Holm)", "p_value": "p"}
MAX_VALUE = 28
"""Letters of an axis's value in the table for people; the other formats hold it whole."""
STYLES = {"amplified": "bold red", "reduced": "blue", "none": "dim", "inverted": "magenta"}
BESIDE = ("p_holm", "p_value", "comparisons", "against", "domains", "images")
"""What is shown beside the numbers, where rows have it."""
SPARE = ("these domains", "domains, images, seeds", "images", "against", "comparisons", "domains")
"""What is left out first where there is no room."""


@dataclass(frozen=True)
class Column:
    """A column; `is_place` says where in the grid a row is."""

    head: str
    cell: Callable[[Row], str]
    right: bool = True
    style: Callable[[Row], str] = lambda row: ""
    is_place: bool = False


def columns_of(rows: Rows, labels: Sequence[str]) -> list[Column]:
    """The trial, the axes on which rows differ, labels, numbers, verdict, further intervals."""
    first = rows[0] if rows else {}
    columns = [Column("trial", lambda row: str(row["trial_key"])[:10], right=False, is_place=True)] if "trial_key" in first else []
    columns += [_text(name, is_place=True) for name in telling_axes(rows, labels[0])]
    columns += [_text(name) for name in labels]
    numbers = [*("before", "after", "delta", "interval"), *(name for name in BESIDE if name in first)]
    columns += [_number(name) for name in numbers]
    if "verdict" in first:
        columns.append(Column("verdict", _verdict, right=False, style=_style))
    return columns + [_number(head) for head, (low, _) in INTERVALS.items() if head != "interval" and low in first]


def marks() -> Column:
    """The verdict in one letter."""
    return Column("", lambda row: MARKS[row["verdict"]] if row["verdict"] else "", right=False, style=_style)


def ordered(rows: Rows, labels: Sequence[str], leading: Sequence[str]) -> Rows:
    """By axes, trial and labels, where rows are of trials; else as they come."""
    if not rows or "trial_key" not in rows[0]:
        return rows
    names = (*telling_axes(rows, labels[0]), "trial_key", *labels)
    ranks = {key: rank for rank, key in enumerate(leading)}
    return sorted(rows, key=lambda row: (ranks.get(row["trial_key"], len(ranks)), [_place(row[name]) for name in names]))


def silent_axes(rows: Rows, first_label: str) -> dict[str, str]:
    """The axes that have one value in all rows, with it."""
    telling = telling_axes(rows, first_label)
    return {name: short(rows[0][name]) for name in axes_of(rows, first_label) if name not in telling and rows[0][name] is not None}


def telling_axes(rows: Rows, first_label: str) -> list[str]:
    """Axes that say something: those on which rows differ."""
    axes = axes_of(rows, first_label)
    return [name for name in axes if len({canonical_json(row[name]) for row in rows}) > 1] or axes


def axes_of(rows: Rows, first_label: str) -> list[str]:
    names = list(rows[0]) if rows else []
    return names[1 : names.index(first_label)] if names and names.index(first_label) else []


def short(value: Any) -> str:
    """A value in a few letters; structured ones come as their JSON text."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        with suppress(json.JSONDecodeError):
            value = json.loads(value)
    text = "" if value is None else value_words(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def _text(name: str, *, is_place: bool = False) -> Column:
    return Column(name, lambda row: short(row[name]) if is_place else str(row[name]), right=False, is_place=is_place)


def _number(name: str) -> Column:
    return Column(HEADS.get(name, name), lambda row: cell(name, row))


def _verdict(row: Row) -> str:
    verdict = row["verdict"]
    return f"{MARKS[verdict]} {verdict}" if verdict else ""


def _style(row: Row) -> str:
    return STYLES.get(row["verdict"], "")


def _place(value: Any) -> tuple[int, float, str]:
    """Where a value stands among others: nothing first, then numbers by size, then words."""
    if value is None:
        return 0, 0.0, ""
    return (1, float(value), "") if isinstance(value, int | float) else (2, 0.0, str(value))
