"""The whole grid at a glance: intervals side by side, or a table of ways and attacks where there are too many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from dashboards.drawings import Drawing, forest
from dashboards.groups import Group, Groups, Summary, Way
from dashboards.tint import strength
from dashboards.words import short

MAX_FOREST = 24
"""Intervals up to which one plot shows them all."""
MAX_ROWS = 120


@dataclass(frozen=True)
class GlanceCell:
    """The change of AUC of one way under one attack; `tint` is the strength of its colour in percent."""

    summary: Summary
    tint: int

    @property
    def words(self) -> str:
        between = "" if self.summary.low is None else f" ({short(self.summary.low)} to {short(self.summary.high or 0.0)})"
        return f"{self.summary.how}: {short(self.summary.delta)}{between}"


@dataclass(frozen=True)
class GlanceTable:
    """Ways down, attacks across.

    Attributes:
        rows: (group of the way under one of the attacks, its cells; None where it was not attacked).
    """

    attacks: list[str]
    rows: list[tuple[Group, list[GlanceCell | None]]]
    left_out: int


def glance_plot(groups: Groups, elsewhere: AbstractSet[Way] = frozenset()) -> Drawing | None:
    """The change of AUC of every way under every attack, pooled over domains where that was done; None when there are too many.

    Args:
        elsewhere: ways that other plots show, and this one need not.
    """
    named: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for attack, group in _changed(groups, elsewhere):
        lines = group.pooled or group.lines
        alone = len(lines) == 1 and lines[0].pooled
        named.setdefault(group.title, []).extend((attack if alone else f"{attack}, {line.name}", line.auc) for line in lines)
    return forest(named) if 0 < sum(map(len, named.values())) <= MAX_FOREST else None


def glance_table(groups: Groups, elsewhere: AbstractSet[Way] = frozenset()) -> GlanceTable | None:
    """The same as a table of one cell for each way and attack, for grids that are too large for the plot."""
    ways: dict[str, dict[str, Group]] = {}
    for attack, group in _changed(groups, elsewhere):
        ways.setdefault(group.title, {})[attack] = group
    if not ways:
        return None
    summaries = {(title, attack): group.summary() for title, found in ways.items() for attack, group in found.items()}
    own = [summaries[title, attack].delta for title, found in ways.items() for attack, group in found.items() if group.role == "method"]
    reach = max(map(abs, own or [summary.delta for summary in summaries.values()]))
    cells = {pair: GlanceCell(summary, strength(summary.delta, reach)) for pair, summary in summaries.items()}
    rows = [(next(iter(found.values())), [cells.get((title, attack)) for attack in groups]) for title, found in ways.items()]
    return GlanceTable(list(groups), rows[:MAX_ROWS], max(0, len(rows) - MAX_ROWS))


def _changed(groups: Groups, elsewhere: AbstractSet[Way]) -> Iterator[tuple[str, Group]]:
    for attack, members in groups.items():
        yield from ((attack, group) for group in members if group.role != "no-shake" and group.way not in elsewhere)
