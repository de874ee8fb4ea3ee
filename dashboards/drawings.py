"""The report's figures, and what they are as parts of its page: there they take its font and its colours, in light and in dark."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

from matplotlib.figure import Figure

from dashboards import plots
from dashboards.results import Cell, roc_of
from jobs.ledger.ledger import Ledger

MAX_PANELS = 12


@dataclass(frozen=True)
class Key:
    """What a line means, said beside the figure."""

    label: str
    color: str
    marker: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Drawing:
    """A figure of the report. It is never drawn itself, only copies of it: where it is shown changes nothing.

    Attributes:
        title: in the page, under the heading of its section.
        words: what it shows, for readers without eyes.
        name: unlike those of the report's other figures; a slug.
        heading: where it stands alone.
        keys: what the page says beside several figures at once.
    """

    title: str
    words: str
    name: str
    heading: str
    figure: Figure
    keys: tuple[Key, ...] = ()

    @property
    def svg(self) -> str:
        """An element of the page."""
        return inline(copy.deepcopy(self.figure), self.name)


MAX_NAME = 80
BEFORE_AND_AFTER = (Key("after", plots.MUTED), Key("before", plots.MUTED, dashed=True))


def names_of(*parts: Sequence[str]) -> list[str]:
    """A slug for each tuple of texts: small letters, digits and dashes, none twice."""
    names: list[str] = []
    for texts in parts:
        slug = re.sub(r"[^a-z0-9]+", "-", "-".join(texts).lower()).strip("-")[:MAX_NAME].strip("-")
        numbered = (f"{slug}-{number}" for number in count(2))
        names.append(next(name for name in chain([slug], numbered) if name not in names))
    return names


def forest(groups: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]) -> Drawing:
    """Named changes of AUC in groups."""
    intervals = [
        plots.Interval(title, name, auc["delta"], auc["delta_low"], auc["delta_high"], auc["verdict"])
        for title, members in groups.items()
        for name, auc in members
    ]
    words = (
        "The change of AUC of every way to change the model under every attack, with its interval; the tables below hold the same numbers."
    )
    return Drawing(
        "At a glance", words, "at-a-glance", "At a glance: change of AUC", plots.forest(intervals, width=4.9), verdict_keys(intervals)
    )


def verdict_keys(intervals: Sequence[plots.Interval]) -> tuple[Key, ...]:
    """The marks of a forest plot."""
    there = {interval.verdict for interval in intervals}
    return tuple(Key(verdict, color, plots.MARKERS[verdict]) for verdict, color in plots.VERDICT_COLORS.items() if verdict in there)


@dataclass(frozen=True)
class RocPlots:
    """ROC curves of one attack: a drawing for each title, and what they share.

    Attributes:
        legend: domain and the number of its colour.
        note: what was left out; empty when nothing was.
    """

    drawings: list[Drawing]
    legend: list[tuple[str, int]]
    note: str


def roc_plots(attack: str, groups: Sequence[tuple[str, Sequence[Cell]]], ledger: Ledger) -> RocPlots:
    """Before and after, a drawing for each group of trials.

    Of many domains those with the largest changes are drawn, of several seeds the first: more curves than colours say nothing.
    """
    colors, every = _colors([cell for _, cells in groups for cell in cells])
    drawn = [(title, _first_of_each(cells, colors)) for title, cells in groups]
    panels = [(title, cells) for title, cells in drawn if cells][:MAX_PANELS]
    names = names_of(*(("roc", attack, title) for title, _ in panels))
    drawings = [_roc_drawing(attack, name, title, cells, colors, ledger) for name, (title, cells) in zip(names, panels, strict=True)]
    left = [f"of {every} domains the {len(colors)} with the largest changes"] if every > len(colors) else []
    left += ["of several seeds the first"] if any(len({*_domains(cells)}) < len(cells) for _, cells in groups) else []
    left += [f"of {len(groups)} ways the first {MAX_PANELS}"] if len(panels) < len([title for title, cells in drawn if cells]) else []
    return RocPlots(drawings, list(zip(colors, range(len(colors)), strict=True)), f"Drawn are {', '.join(left)}." if left else "")


def _domains(cells: Sequence[Cell]) -> list[str]:
    return [cell.place.domain for cell in cells]


def _colors(cells: Sequence[Cell]) -> tuple[dict[str, str], int]:
    """The colours of the domains to draw, in the order of the trials, and how many domains there are."""
    changes: dict[str, list[float]] = {}
    for cell in cells:
        changes.setdefault(cell.place.domain, []).append(abs(float(cell.metric("auc")["delta"])))
    largest = sorted(changes, key=lambda domain: sum(changes[domain]) / len(changes[domain]), reverse=True)[: len(plots.LINE_COLORS)]
    return plots.colors_of([domain for domain in changes if domain in largest]), len(changes)


def _first_of_each(cells: Sequence[Cell], domains: Mapping[str, str]) -> list[Cell]:
    first = {cell.place.domain: cell for cell in reversed(cells)}
    return [cell for cell in cells if cell is first[cell.place.domain] and cell.place.domain in domains]


def _roc_drawing(attack: str, name: str, title: str, cells: Sequence[Cell], colors: Mapping[str, str], ledger: Ledger) -> Drawing:
    curves = [curve for cell in cells if (curve := _curve(cell, ledger)) is not None]
    floor = 0.5 / max(cell.document["n_non_member"] for cell in cells)
    figure = plots.roc([plots.Panel("", curves)], floor=floor, legend=False, colors=colors)
    words = f"ROC curves of {title} under the {attack} attack, before and after, on logarithmic axes."
    keys = (*(Key(label, color) for label, color in colors.items()), *BEFORE_AND_AFTER)
    return Drawing(title, words, name, f"ROC curves, {attack} attack: {title}", figure, keys)


def _curve(cell: Cell, ledger: Ledger) -> plots.Curve | None:
    roc = roc_of(ledger, cell)
    if roc is None:
        return None
    before, after = ((roc[when]["fpr"], roc[when]["tpr"]) for when in ("before", "after"))
    return plots.Curve(cell.place.domain, before, after)


def inline(figure: Figure, name: str) -> str:
    """The figure as an element of the page: names of its own, the page's font, the page's colours in light and dark."""
    text = plots.svg(figure).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', text)
    text = re.sub(r"font: ((?:\w+ )*)([\d.]+px) [^;\"]*", _font, text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 aria-hidden="true"', text, count=1)
    for variable, color in plots.PAGE_COLORS.items():
        text = text.replace(color, f"var(--{variable})")
    return text


def _font(match: re.Match[str]) -> str:
    weight = "; font-weight: 600" if re.search(r"bold|[67]00", match[1]) else ""
    return f"font-size: {match[2]}{weight}"
