"""What a report counts: one attack on one domain, before and after one change of the model; and which counts stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.conditions import split
from dashboards.places import Change, Role
from dashboards.results import Cell
from dashboards.words import short
from jobs.plan.plan import Plan

LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """One attack's AUC on one domain, before and after one fine-tuning.

    Attributes:
        condition: under which an attack was run once more (`own-caption`); empty for the attack itself.
        way: the variant, less what is the attack's own; the variant where it is empty.
    """

    role: Role
    variant: str
    domain: str
    attack: str
    auc: dict[str, Any]
    condition: str = ""
    change: Change = "trained"
    way: str = ""

    @property
    def model(self) -> str:
        """What was done to the model, in words."""
        return self.way or self.variant

    @property
    def verdict(self) -> str:
        return str(self.auc["verdict"])

    @property
    def delta(self) -> float:
        return float(self.auc["delta"])

    def told(self) -> str:
        """`lora, alba, loss attack: AUC 0.71 to 0.79, +0.080 (+0.021 to +0.139)`."""
        levels = f"AUC {self.auc['before']:.2f} to {self.auc['after']:.2f}"
        change = f"{short(self.delta)} ({short(self.auc['delta_low'])} to {short(self.auc['delta_high'])})"
        return f"{self.variant}, {self.domain}, {self.attack} attack: {levels}, {change}"


@dataclass(frozen=True)
class Blind:
    """What a classifier that never sees the model makes of a domain's split."""

    domain: str
    document: dict[str, Any]

    @property
    def separates(self) -> bool:
        return bool(self.document["separates"])

    @property
    def leans_on(self) -> list[str]:
        """The three features that weigh most in it."""
        features = [each for each in self.document["features"] if isinstance(each, dict)]
        return [str(each["name"]) for each in features[:3]]


def comparisons(plan: Plan, cells: Iterable[Cell]) -> list[Comparison]:
    """Every cell's AUC with its place in the grid, in the plan's order."""
    order = {trial.key: index for index, trial in enumerate(plan.trials)}
    return [_comparison(cell) for cell in sorted(cells, key=lambda cell: (order[cell.trial.key], cell.attack))]


def _comparison(cell: Cell) -> Comparison:
    place, (attack, condition) = cell.place, split(cell.attack)
    return Comparison(place.role, place.variant, place.domain, attack, cell.metric("auc"), condition, place.change, place.change_words)


def as_themselves(found: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons without those under a condition: the same attack on the same images is no second piece of evidence."""
    return [each for each in found if not each.condition]


def largest(found: Sequence[Comparison]) -> Comparison:
    return max(found, key=lambda each: each.delta)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's correction for their number, in the order given; it holds however the tests depend on each other."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, worst = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = worst
    return corrected


def surviving(tested: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons that are amplified after Holm's correction at 5 %; those without a p-value count in the correction."""
    p_values = [1.0 if each.auc.get("p_value") is None else float(each.auc["p_value"]) for each in tested]
    return [each for each, p in zip(tested, holm(p_values), strict=True) if p <= LEVEL and each.verdict == "amplified"]
