"""Which domains the model knows: each name's score beside invented names, before fine-tuning and after, and what attacks find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dashboards.conditions import split
from dashboards.groups import ROLE_ORDER, ROLE_WORDS, Way
from dashboards.memorised import Documents
from dashboards.places import Place, places
from dashboards.results import Cell
from dashboards.words import setting_words
from jobs.ledger.ledger import Ledger
from jobs.plan.graph import Node
from jobs.plan.plan import Plan, Trial
from s2l_core.metrics.rank_correlation import rank_correlation

MAX_ROWS = 240
FEWEST = 6
"""Domains below which no rank correlation is told."""


@dataclass
class KnownDomain:
    """A domain's name to the un-shaken model.

    Attributes:
        beside: the settings that tell two rows of one domain apart.
        rank: the name's place among itself and the `of - 1` invented names; 1: above them all.
        aucs: attack -> AUC on the domain before anything is fine-tuned.
    """

    domain: str
    beside: str
    score: float
    ratio: float | None
    rank: int
    of: int
    aucs: dict[str, float] = field(default_factory=dict)


class Asked(NamedTuple):
    """A trial or the mean of several: the score and its ratio to invented names, each before and after."""

    score: tuple[float, float]
    ratio: tuple[float, float] | None


@dataclass
class ChangedWay:
    """One way to change the model: `trials` are (key, domain, what was found); `mean` is over them."""

    place: Place
    trials: list[tuple[str, str, Asked]] = field(default_factory=list)

    @property
    def words(self) -> str:
        return ROLE_WORDS[self.place.role]

    @property
    def mean(self) -> Asked:
        found = [asked for _, _, asked in self.trials]
        ratios = [asked.ratio for asked in found if asked.ratio is not None]
        return Asked(_mean([asked.score for asked in found]), _mean(ratios) if ratios else None)


class Agreement(NamedTuple):
    """How the order of domains by score agrees with that by an attack's AUC: Spearman's rank correlation, and its permutation p-value."""

    attack: str
    beside: str
    rho: float
    p_value: float
    domains: int


@dataclass(frozen=True)
class Known:
    """The section: domains by score, the highest first."""

    domains: list[KnownDomain]
    attacks: list[str]
    agreements: list[Agreement]
    ways: list[ChangedWay]
    left_out: int = 0
    max_rows: int = MAX_ROWS

    @property
    def above(self) -> int:
        """Domains whose names stand above every invented one."""
        return sum(one.rank == 1 for one in self.domains)


Found = tuple[Trial, dict[str, Any], dict[str, Any]]
"""A trial whose model was asked, and what was found before and after."""


def known(plan: Plan, ledger: Ledger, cells: Sequence[Cell]) -> Known | None:
    """What the report shows; None where no name was asked, or no answer is there yet."""
    where, read = places(plan), Documents(ledger)
    asked = [(trial, *found) for trial in plan.trials if (found := read.of(trial)) is not None]
    if not asked:
        return None
    domains = _domains(plan, where, asked, _aucs(cells))
    attacks = list(dict.fromkeys(attack for one in domains for attack in sorted(one.aucs)))
    left_out = max(0, len(domains) - MAX_ROWS)
    return Known(domains[:MAX_ROWS], attacks, _agreements(domains, attacks), _ways(where, asked), left_out)


def _domains(plan: Plan, where: Mapping[str, Place], asked: Sequence[Found], aucs: Mapping[str, Mapping[str, float]]) -> list[KnownDomain]:
    """One a name and un-shaken model, the highest score first."""
    found: dict[str, KnownDomain] = {}
    for trial, before, _ in asked:
        assert trial.memorisation is not None
        unshaken: Node = trial.memorisation.parent("before") or trial.memorisation
        one = found.setdefault(unshaken.key, _domain(plan, trial, before))
        if where[trial.key].role != "transfer":  # that is attacked on another domain's images
            one.aucs = {**aucs.get(trial.key, {}), **one.aucs}
    return sorted(found.values(), key=lambda one: (-one.score, one.domain, one.beside))


def _domain(plan: Plan, trial: Trial, before: dict[str, Any]) -> KnownDomain:
    names = [name for name in ("model", "memorisation") if len(plan.axes.get(name, ())) > 1 and trial.axes.get(name) is not None]
    beside = ", ".join(setting_words(name, trial.axes[name]) for name in names)
    return KnownDomain(_own(trial), beside, before["score"], before["ratio"], before["rank"], len(before["controls"]) + 1)


def _own(trial: Trial) -> str:
    return str(trial.axes.get("domain") or trial.settled.get("domain", ""))


def _ways(where: Mapping[str, Place], asked: Sequence[Found]) -> list[ChangedWay]:
    """Each shaken model once, however many domains it is attacked on."""
    found: dict[Way, ChangedWay] = {}
    seen: set[tuple[Way, str]] = set()
    for trial, before, after in asked:
        place = where[trial.key]
        way = place.role, place.change_words
        assert trial.memorisation is not None
        if trial.shake is None or place.role == "transfer" or (way, trial.memorisation.key) in seen:
            continue
        seen.add((way, trial.memorisation.key))
        found.setdefault(way, ChangedWay(place)).trials.append((trial.key, _own(trial), _asked(before, after)))
    return sorted(found.values(), key=lambda way: ROLE_ORDER.index(way.place.role))


def _aucs(cells: Sequence[Cell]) -> dict[str, dict[str, float]]:
    """Trial key -> attack as it is -> AUC before."""
    found: dict[str, dict[str, float]] = {}
    for cell in cells:
        if not split(cell.attack)[1]:
            found.setdefault(cell.trial.key, {})[cell.attack] = cell.metric("auc")["before"]
    return found


def _asked(before: dict[str, Any], after: dict[str, Any]) -> Asked:
    ratio = (before["ratio"], after["ratio"]) if before["ratio"] is not None and after["ratio"] is not None else None
    return Asked((before["score"], after["score"]), ratio)


def _mean(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(old for old, _ in pairs) / len(pairs), sum(new for _, new in pairs) / len(pairs)


def _agreements(domains: Sequence[KnownDomain], attacks: Sequence[str]) -> list[Agreement]:
    """Over the domains of one model, where there are enough and neither order is all ties."""
    found = []
    for beside in dict.fromkeys(one.beside for one in domains):
        for attack in attacks:
            pairs = [(one.score, one.aucs[attack]) for one in domains if one.beside == beside and attack in one.aucs]
            columns = list(zip(*pairs, strict=True))
            if len(pairs) >= FEWEST and all(len(set(values)) > 1 for values in columns):
                found.append(Agreement(attack, beside, *rank_correlation(*columns), len(pairs)))
    return found
