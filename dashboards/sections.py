"""What the report shows of each attack: methods in one line each, their trials, and ROC curves. Large grids are cut, and say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from dashboards.drawings import RocPlots, roc_plots
from dashboards.groups import Group, Groups, Line, Summary
from dashboards.methods import DomainTests, MethodRow, Within, method_rows, within_domains
from dashboards.recognised import Person, in_a_sentence, people
from dashboards.results import Cell
from dashboards.words import plural
from jobs.ledger.ledger import Ledger

MAX_ROWS = 240
MAX_UNFOLDED = 20
"""Rows of trials that are shown without being asked for."""
MAX_RATES = 60
"""Rows of trials up to which the table of true positive rates holds them; beyond, it holds pools alone where there are some."""


@dataclass
class AttackSection:
    """Everything about one attack.

    Attributes:
        methods: one row for each way to change the model; empty when the trials' rows say the same.
        groups: the trials' rows, the largest changes when there are too many.
        rates: the rows of the table of true positive rates.
        reach: how far the interval bars of trials reach to either side of zero.
        methods_reach: the same for `methods`; pools have narrower intervals.
        thresholds: what became of false positive rates on images that thresholds were not set on, in sentences.
        identity: how many images of a person tell that the person was trained on, in a sentence; empty without methods.
        people: the tests behind it, where the trials' rates are shown too.
    """

    attack: str
    methods: list[MethodRow]
    groups: list[Group]
    rates: list[Group]
    reach: float
    methods_reach: float
    roc: RocPlots
    thresholds: list[str]
    identity: str
    people: list[Person]
    left_out: int = 0

    @property
    def folded(self) -> bool:
        return bool(self.methods) and sum(len(group.lines) for group in self.groups) > MAX_UNFOLDED

    @property
    def how(self) -> str:
        """What every row of `methods` is the result of, where they all are of the same."""
        ways = {each.summary.how for row in self.methods for each in (row, *row.again)}
        return ways.pop() if len(ways) == 1 else ""

    @property
    def tested(self) -> bool:
        return any(row.corrected_p is not None for row in self.methods)

    @property
    def within(self) -> list[Within]:
        """The intervals of pools that resample what lies within domains."""
        return within_domains(self.methods)

    @property
    def inverted(self) -> bool:
        return any(each.verdicts["inverted"] for row in self.methods for each in (row, *row.again))

    def bar(self, line: Line) -> str:
        """CSS variables of a trial's interval bar."""
        return _bar(line.auc["delta_low"], line.auc["delta"], line.auc["delta_high"], self.reach)

    def method_bar(self, summary: Summary) -> str:
        """The same for a row of `methods`; a point where there is no interval."""
        low, high = (summary.delta if end is None else end for end in (summary.low, summary.high))
        return _bar(low, summary.delta, high, self.methods_reach)

    def beyond(self, summary: Summary) -> str:
        """The side on which a row of `methods` lies outside of its bar's reach, for a class; empty when it is inside."""
        if abs(summary.delta) <= self.methods_reach:
            return ""
        return "over" if summary.delta > 0 else "under"


def _bar(low: float, at: float, high: float, reach: float) -> str:
    """In percent of the bar's width."""
    start, middle, end = (50 + 50 * max(-1.0, min(1.0, value / reach)) for value in (low, at, high))
    return f"--start: {start:.2f}%; --length: {end - start:.2f}%; --at: {middle:.2f}%"


def attack_sections(groups: Groups, tests: DomainTests, found: Sequence[Cell], ledger: Ledger) -> list[AttackSection]:
    """One section an attack, in the plan's order."""
    return [_attack(attack, members, tests, found, ledger) for attack, members in groups.items()]


def _attack(attack: str, groups: Sequence[Group], tests: DomainTests, found: Sequence[Cell], ledger: Ledger) -> AttackSection:
    every = list(_with_conditions(groups))
    kept, left_out = _largest(every)
    shown = [cut for group in every if (cut := replace(group, lines=[line for line in group.lines if line.key in kept])).lines]
    shaken = [group for group in groups if group.role != "no-shake"]
    cells = {cell.trial.key: cell for cell in found if cell.attack == attack}
    plots = roc_plots(attack, [(group.title, [cells[line.key] for line in group.lines]) for group in shaken], ledger)
    reaches = _reach(every), _methods_reach(groups)
    of_methods = [cell for cell in cells.values() if cell.place.role == "method"]
    told = _thresholds(of_methods), in_a_sentence(of_methods)
    rates = _rates(shown)
    return AttackSection(attack, method_rows(groups, tests), shown, rates, *reaches, plots, *told, people(rates, cells), left_out)


def _thresholds(found: Sequence[Cell]) -> list[str]:
    told = []
    for name in dict.fromkeys(name for cell in found for name in cell.document["thresholds"]):
        sides = [cell.document["thresholds"][name] for cell in found if name in cell.document["thresholds"]]
        before, after = (sum(side[when]["fpr"] for side in sides) / len(sides) for when in ("before", "after"))
        target = 100 * float(name.rpartition("_")[2])
        told.append(
            f"Set to {target:g} % false alarms on one half of the images, a threshold gave {100 * before:.2g} % on the other half before "
            f"and {100 * after:.2g} % after, in the mean over {plural(len(sides), 'trial')} of methods."
        )
    return told


def _with_conditions(groups: Iterable[Group]) -> Iterator[Group]:
    """Each group, and behind it the same under other conditions."""
    for group in groups:
        yield group
        yield from group.again


def _largest(groups: Sequence[Group]) -> tuple[set[str], int]:
    """Keys of the trials whose rows are shown, and how many rows are left out."""
    lines = sorted((line for group in groups for line in group.lines), key=lambda line: abs(float(line.auc["delta"])), reverse=True)
    kept = {line.key for line in lines[:MAX_ROWS]}
    return kept, sum(line.key not in kept for line in lines)


def _rates(groups: Sequence[Group]) -> list[Group]:
    if sum(len(group.lines) for group in groups) <= MAX_RATES or not any(group.pooled for group in groups):
        return list(groups)
    return [replace(group, lines=[]) for group in groups if group.pooled]


def _reach(groups: Sequence[Group]) -> float:
    lines: list[Line] = [line for group in groups for line in [*group.lines, *group.pooled]]
    return max([0.05, *(abs(float(line.auc[name])) for line in lines for name in ("delta_low", "delta_high"))])


def _methods_reach(groups: Sequence[Group]) -> float:
    """Wide enough for the methods; a positive control may lie far outside, and would press them flat."""
    own = [group.summary() for group in groups if group.role == "method"] or [group.summary() for group in groups]
    return max([0.02, *(abs(end) for each in own for end in (each.low, each.delta, each.high) if end is not None)])
