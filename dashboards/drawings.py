"""Plots as parts of a page: they take its font and its colours, in light and in dark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards import plots
from dashboards.results import Cell, roc_of
from jobs.ledger.ledger import Ledger

MAX_PANELS = 12
MAX_FOREST = 60


@dataclass(frozen=True)
class Drawing:
    """An SVG for the page, with what it shows in words."""

    title: str
    words: str
    svg: str


def forest(groups: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]) -> Drawing | None:
    """Named changes of AUC in groups; None when there are none, or too many to read."""
    intervals = [
        plots.Interval(title, name, auc["delta"], auc["delta_low"], auc["delta_high"], auc["verdict"])
        for title, members in groups.items()
        for name, auc in members
    ]
    if not intervals or len(intervals) > MAX_FOREST:
        return None
    words = "The change of AUC of every way to fine-tune under every attack, with its interval; the tables below hold the same numbers."
    return Drawing("At a glance", words, _inline(plots.forest(intervals, width=4.9), "forest"))


def roc_drawings(attack: str, cells: Sequence[tuple[str, Cell]], ledger: Ledger) -> tuple[list[Drawing], list[tuple[str, int]]]:
    """One drawing for each title, and the legend they share: domain and number of its colour.

    Args:
        cells: (title, cell) pairs; those of one title share a drawing.
    """
    domains = list(dict.fromkeys(cell.place.domain for _, cell in cells))
    colors = plots.colors_of(domains)
    panels: dict[str, list[Cell]] = {}
    for title, cell in cells:
        panels.setdefault(title, []).append(cell)
    drawings = []
    for number, (title, members) in enumerate(list(panels.items())[:MAX_PANELS]):
        curves = [curve for cell in members if (curve := _curve(cell, ledger)) is not None]
        floor = 0.5 / max(cell.document["n_non_member"] for cell in members)
        figure = plots.roc([plots.Panel("", curves)], floor=floor, legend=False, colors=colors)
        words = f"ROC curves of {title} under the {attack} attack, before and after, on logarithmic axes."
        drawings.append(Drawing(title, words, _inline(figure, f"roc-{attack}-{number}")))
    return drawings, [(domain, index) for index, domain in enumerate(domains)] if len(domains) <= len(plots.LINE_COLORS) else []


def _curve(cell: Cell, ledger: Ledger) -> plots.Curve | None:
    roc = roc_of(ledger, cell)
    if roc is None:
        return None
    before, after = ((roc[when]["fpr"], roc[when]["tpr"]) for when in ("before", "after"))
    return plots.Curve(cell.place.domain, before, after)


def _inline(figure: Any, name: str) -> str:
    """The figure as an element of the page: names of its own, the page's font, the page's colours in light and dark."""
    prefix = re.sub(r"[^a-z0-9]+", "-", name.lower())
    text = plots.svg(figure).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r'xlink:href="#', f'xlink:href="#{prefix}-', text)
    text = re.sub(r"font: ((?:\w+ )*)([\d.]+px) [^;\"]*", _font, text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 aria-hidden="true"', text, count=1)
    for variable, color in plots.PAGE_COLORS.items():
        text = text.replace(color, f"var(--{variable})")
    return text


def _font(match: re.Match[str]) -> str:
    weight = "; font-weight: 600" if re.search(r"bold|[67]00", match[1]) else ""
    return f"font-size: {match[2]}{weight}"
