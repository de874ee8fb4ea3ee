"""The trials of one way to change the model under one attack, put together: their rows, their pools, and one line that sums them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dashboards.conditions import CONDITIONS, split
from dashboards.places import Place, Role, places
from dashboards.results import Cell, document_of
from dashboards.words import plural
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan, Pool

ROLE_WORDS: dict[Role, str] = {
    "method": "",
    "transfer": "transfer: attacked on other domains",
    "members": "positive control: trained on the members",
    "defended-members": "trained on the members with a defence: no control",
    "unrelated": "control: trained on pictures of something else",
    "matched-noise": "control: noise as large as what fine-tuning changed",
    "no-shake": "control: no fine-tuning",
}
ROLE_ORDER = tuple(ROLE_WORDS)
ROLE_SHORT: dict[Role, str] = {
    "method": "",
    "transfer": "other domains",
    "members": "on members",
    "defended-members": "on members, defended",
    "unrelated": "on unrelated pictures",
    "matched-noise": "equal noise",
    "no-shake": "no fine-tuning",
}
"""The same where there is little room: in plots."""

Ends = tuple[float, float]

Way = tuple[Role, str]
"""A way to change the model: the part that it plays, and its variant."""


@dataclass(frozen=True)
class Line:
    """One row of a table: one trial under one attack, or a pool of them."""

    name: str
    key: str
    metrics: dict[str, Any]
    place: Place
    pooled: bool = False

    @property
    def auc(self) -> dict[str, Any]:
        auc: dict[str, Any] = self.metrics["auc"]
        return auc


@dataclass(frozen=True)
class Summary:
    """A group's AUC in one line.

    Attributes:
        low, high, verdict: None where trials are only averaged: their mean has no interval of its own.
        signed_rank_p, smallest_p: of the test over domains, where it was made; `smallest_p` is the least that so many domains can give.
        how: of what this is the result.
        hierarchical, these_domains: the intervals of a pool that resample domains, images and seeds, or images and seeds alone.
    """

    before: float
    after: float
    delta: float
    low: float | None
    high: float | None
    verdict: str | None
    how: str
    signed_rank_p: float | None = None
    smallest_p: float | None = None
    hierarchical: Ends | None = None
    these_domains: Ends | None = None


@dataclass
class Group:
    """The rows of one way to change the model under one attack.

    Attributes:
        place: that of its first trial; the domain says nothing about the others.
        condition: under which the attack was run once more; empty for the attack as it is.
        again: the same trials under such conditions.
    """

    attack: str
    place: Place
    condition: str = ""
    lines: list[Line] = field(default_factory=list)
    pooled: list[Line] = field(default_factory=list)
    again: list[Group] = field(default_factory=list)

    @property
    def role(self) -> Role:
        return self.place.role

    @property
    def variant(self) -> str:
        return self.place.variant

    @property
    def way(self) -> Way:
        return self.role, self.variant

    @property
    def words(self) -> str:
        """What part it plays, or under which condition it was run again; empty for a method as it is."""
        return CONDITIONS[self.condition].short if self.condition else ROLE_WORDS[self.place.role]

    @property
    def title(self) -> str:
        return with_role(self.variant, self.role)

    def summary(self) -> Summary:
        if len(self.pooled) == 1:
            auc = self.pooled[0].auc
            pooled = _summary(auc, f"pooled over {len(auc['by_domain'])} domains")
            everywhere, here = ((auc[name]["low"], auc[name]["high"]) for name in ("hierarchical", "these_domains"))
            tested = replace(pooled, signed_rank_p=auc["wilcoxon_p"], smallest_p=auc["smallest_p"])
            return replace(tested, hierarchical=everywhere, these_domains=here)
        if len(self.lines) == 1:
            return _summary(self.lines[0].auc, self.lines[0].name)
        before, after, delta = (sum(line.auc[name] for line in self.lines) / len(self.lines) for name in ("before", "after", "delta"))
        return Summary(before, after, delta, None, None, None, f"mean of {plural(len(self.lines), 'trial')}")

    def verdicts(self) -> dict[str, int]:
        """Verdict -> number of attacked domains; a domain with several trials (its seeds) has a verdict only when all of them agree."""
        by_domain: dict[str, set[str]] = {}
        for line in self.lines:
            by_domain.setdefault(line.place.domain, set()).add(line.auc["verdict"])
        agreed = [found.pop() if len(found) == 1 else "none" for found in by_domain.values()]
        return {verdict: agreed.count(verdict) for verdict in ("amplified", "reduced", "inverted", "none")}


def with_role(name: str, role: Role) -> str:
    """The name of a way with its part, in the few words that a plot has room for."""
    return f"{name} ({ROLE_SHORT[role]})" if ROLE_SHORT[role] else name


def _summary(auc: Mapping[str, Any], how: str) -> Summary:
    levels = (auc["before"], auc["after"], auc["delta"], auc["delta_low"], auc["delta_high"], auc["verdict"])
    return Summary(*levels, how)


Groups = dict[str, list[Group]]
"""Attack (without condition) -> its groups: methods first, then transfer and controls, each in the plan's order."""


def groups_of(plan: Plan, ledger: Ledger, found: Sequence[Cell]) -> Groups:
    """All cells, and the pools over them, grouped by attack, part and variant."""
    order = {trial.key: index for index, trial in enumerate(plan.trials)}
    ranked = sorted(found, key=lambda cell: (ROLE_ORDER.index(cell.place.role), order[cell.trial.key], cell.attack))
    groups: dict[tuple[str, Role, str], Group] = {}
    for cell in ranked:
        attack, condition = split(cell.attack)
        key = (cell.attack, cell.place.role, cell.place.variant)
        group = groups.setdefault(key, Group(attack, cell.place, condition))
        group.lines.append(Line(_line_name(plan, cell), cell.trial.key, cell.document["metrics"], cell.place))
    for key, line in _pooled_lines(plan, ledger):
        if key in groups:
            groups[key].pooled.append(line)
    return _by_attack(plan, groups)


def _by_attack(plan: Plan, groups: Mapping[tuple[str, Role, str], Group]) -> Groups:
    """Groups under a condition lie with the group of the attack as it is."""
    plain = {key: group for key, group in groups.items() if not group.condition}
    for (_, role, variant), group in groups.items():
        if group.condition:
            plain[group.attack, role, variant].again.append(group)
    names = dict.fromkeys(split(name)[0] for trial in plan.trials for name in trial.metrics)
    by_attack = {name: [group for group in plain.values() if group.attack == name] for name in names}
    return {name: members for name, members in by_attack.items() if members}


def _line_name(plan: Plan, cell: Cell) -> str:
    place, axes = cell.place, cell.trial.axes
    seeds = [name for name in axes if name.endswith("seed") and len(plan.axes.get(name, ())) > 1 and axes[name] is not None]
    trained = [f"trained on {place.trained_on}"] if place.trained_on else []
    return ", ".join([place.domain, *trained, *(f"{seed.replace('_', ' ')} {axes[seed]}" for seed in seeds)])


def pooled_documents(plan: Plan, ledger: Ledger) -> list[tuple[Pool, dict[str, Any]]]:
    """The pools that are committed, with their `pooled.json`."""
    committed = ledger.committed("pooled")
    read = [(pool, document_of(ledger, pool.node, "pooled.json")) for pool in plan.pools if pool.node.key in committed]
    return [(pool, document) for pool, document in read if document is not None]


def _pooled_lines(plan: Plan, ledger: Ledger) -> list[tuple[tuple[str, Role, str], Line]]:
    """(attack, role, variant) and the row of each pool that is committed; SP sets of several seeds are pooled apart.

    A pool over trials of several parts (a model's own domain and others) speaks of none of them, and is left out.
    """
    where = places(plan)
    several = [name for name in plan.axes if name.endswith("_seed") and len(plan.axes[name]) > 1]
    lines = []
    for pool, document in pooled_documents(plan, ledger):
        parts = {(where[key].role, where[key].variant) for key in pool.trials}
        if len(parts) == 1:
            place = where[pool.trials[0]]
            told = [f"{name.replace('_', ' ')} {pool.axes[name]}" for name in several if pool.axes.get(name) is not None]
            name = ", ".join([f"all {len(document['domains'])} domains, pooled", *told])
            line = Line(name, pool.node.key, document["metrics"], place, pooled=True)
            lines.append(((pool.attack, place.role, place.variant), line))
    return lines
