"""Flat rows as they are printed: Markdown and LaTeX, and the cells of all printed tables. Four digits, intervals in one column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Rows = Sequence[Row]

MARKS = {"amplified": "▲", "reduced": "▼", "none": "–", "inverted": "⇅"}
INTERVALS = {
    "interval": ("delta_low", "delta_high"),
    "domains, images, seeds": ("hierarchical_low", "hierarchical_high"),
    "these domains": ("these_domains_low", "these_domains_high"),
}
"""Two columns that are printed as one."""

COUNTS = (
    *("comparisons", "against", "domains", "trials", "images", "candidates"),
    *("n_member", "n_non_member", "n_pairs", "n_rejected", "n_controls"),
)
NUMBERS = ("before", "after", "delta", *INTERVALS, "p_holm", "p_value", *COUNTS)


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
    return header, [[cell(name, row) for name in header] for row in rows]


def cell(name: str, row: Row) -> str:
    """A value as it is printed; an interval is called by its head."""
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


def number(value: float | None) -> str:
    """Four digits; counts are whole."""
    return "" if value is None else (str(value) if isinstance(value, int) else f"{value:.4f}").replace("-", "−")


def signed(value: float | None) -> str:
    """The same with a sign; zero alone has none."""
    text = "" if value is None else (f"{value:+d}" if isinstance(value, int) else f"{value:+.4f}").replace("-", "−")
    return text if value else text.lstrip("+−")


def interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"
