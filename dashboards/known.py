"""Which domains the model knows: each name's score beside invented names, before fine-tuning and after, and what attacks find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dashboards.groups import ROLE_ORDER, ROLE_WORDS, Way
from dashboards.memorised import documents_of
from dashboards.places import Place, places
from dashboards.results import Cell
from dashboards.words import setting_words
from jobs.graph import Node
from jobs.ledger.ledger import Ledger
from jobs.plan import Plan, Trial

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
    """How the order of domains by score agrees with that by an attack's AUC: Spearman's rank correlation and its p-value."""

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


def known(plan: Plan, ledger: Ledger, cells: Sequence[Cell]) -> Known | None:
    """What the report shows; None where no name was asked, or no answer is there yet."""
    where = places(plan)
    domains: dict[str, KnownDomain] = {}
    ways: dict[tuple[Way, str], ChangedWay] = {}
    seen: set[tuple[Way, str]] = set()
    aucs = _aucs(cells)
    for trial in plan.trials:
        documents = documents_of(ledger, trial)
        if documents is None or trial.memorisation is None:
            continue
        before, after = documents
        unshaken: Node = trial.memorisation.parent("before") or trial.memorisation
        domain = domains.setdefault(unshaken.key, _domain(plan, trial, before))
        place = where[trial.key]
        if place.role == "transfer":  # attacked on another domain; its own name is asked beside
            continue
        domain.aucs |= {attack: auc for attack, auc in aucs.get(trial.key, {}).items() if attack not in domain.aucs}
        way = place.role, place.variant
        if trial.shake is not None and (way, trial.memorisation.key) not in seen:
            seen.add((way, trial.memorisation.key))
            changed = ways.setdefault((way, domain.beside), ChangedWay(place))
            changed.trials.append((trial.key, domain.domain, _asked(before, after)))
    if not domains:
        return None
    ranked = sorted(domains.values(), key=lambda one: (-one.score, one.domain, one.beside))
    attacks = list(dict.fromkeys(attack for one in ranked for attack in sorted(one.aucs)))
    ordered = sorted(ways.values(), key=lambda way: ROLE_ORDER.index(way.place.role))
    return Known(ranked[:MAX_ROWS], attacks, _agreements(ranked, attacks), ordered, max(0, len(ranked) - MAX_ROWS))


def _domain(plan: Plan, trial: Trial, before: dict[str, Any]) -> KnownDomain:
    names = [name for name in ("model", "memorisation") if len(plan.axes.get(name, ())) > 1 and trial.axes.get(name) is not None]
    domain = str(trial.axes.get("domain") or trial.settled.get("domain", before["name"]))
    beside = ", ".join(setting_words(name, trial.axes[name]) for name in names)
    return KnownDomain(domain, beside, before["score"], before["ratio"], before["rank"], len(before["controls"]) + 1)


def _aucs(cells: Sequence[Cell]) -> dict[str, dict[str, float]]:
    """Trial key -> attack as it is -> AUC before."""
    found: dict[str, dict[str, float]] = {}
    for cell in cells:
        if "@" not in cell.attack:
            found.setdefault(cell.trial.key, {})[cell.attack] = cell.metric("auc")["before"]
    return found


def _asked(before: dict[str, Any], after: dict[str, Any]) -> Asked:
    ratio = (before["ratio"], after["ratio"]) if before["ratio"] is not None and after["ratio"] is not None else None
    return Asked((before["score"], after["score"]), ratio)


def _mean(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(old for old, _ in pairs) / len(pairs), sum(new for _, new in pairs) / len(pairs)


def _agreements(domains: Sequence[KnownDomain], attacks: Sequence[str]) -> list[Agreement]:
    """Over the domains of one model, where there are enough and neither order is all ties."""
    from scipy.stats import spearmanr

    found = []
    for beside in dict.fromkeys(one.beside for one in domains):
        for attack in attacks:
            pairs = [(one.score, one.aucs[attack]) for one in domains if one.beside == beside and attack in one.aucs]
            columns = list(zip(*pairs, strict=True))
            if len(pairs) >= FEWEST and all(len(set(values)) > 1 for values in columns):
                result: Any = spearmanr(*columns)
                found.append(Agreement(attack, beside, float(result.statistic), float(result.pvalue), len(pairs)))
    return found
