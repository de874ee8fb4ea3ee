"""What the report shows of each attack: tables with intervals, and ROC curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboards.drawings import Drawing, forest, roc_drawings
from dashboards.results import Cell, Place, Role, document_of, places
from jobs.ledger.ledger import Ledger
from jobs.plan import Plan, Pool

MAX_ROWS = 240
ROLE_ORDER: tuple[Role, ...] = ("method", "members", "unrelated", "no-shake")
ROLE_WORDS: dict[Role, str] = {
    "method": "",
    "members": "positive control: trained on the members",
    "unrelated": "control: trained on another domain's pictures",
    "no-shake": "control: no fine-tuning",
}


@dataclass(frozen=True)
class Line:
    """One row of a table: one trial under one attack, or a pool of them."""

    name: str
    key: str
    metrics: dict[str, Any]
    pooled: bool = False


@dataclass
class Group:
    """The rows of one way to fine-tune."""

    variant: str
    role: Role
    lines: list[Line] = field(default_factory=list)

    @property
    def words(self) -> str:
        return ROLE_WORDS[self.role]

    @property
    def title(self) -> str:
        return f"{self.variant} ({self.words})" if self.words else self.variant


@dataclass
class AttackSection:
    """Everything about one attack.

    Attributes:
        reach: how far the interval bars reach to either side of zero.
        legend: domain and the number of its colour, where there are few enough to tell apart.
    """

    attack: str
    groups: list[Group]
    reach: float
    roc: list[Drawing]
    legend: list[tuple[str, int]]
    left_out: int = 0

    def bar(self, metric: dict[str, Any]) -> str:
        """CSS variables of an interval bar, in percent of its width."""
        start, at, end = (50 + 50 * max(-1.0, min(1.0, metric[name] / self.reach)) for name in ("delta_low", "delta", "delta_high"))
        return f"--start: {start:.2f}%; --length: {end - start:.2f}%; --at: {at:.2f}%"


def attack_sections(plan: Plan, ledger: Ledger, found: Sequence[Cell]) -> list[AttackSection]:
    """One section an attack, in the plan's order; large grids are cut to the largest changes, and say so."""
    names = dict.fromkeys(name for trial in plan.trials for name in trial.metrics)
    pools = _pools(plan, ledger)
    by_attack = {name: [cell for cell in found if cell.attack == name] for name in names}
    return [_attack(plan, ledger, name, cells, pools) for name, cells in by_attack.items() if cells]


def overview(sections: Sequence[AttackSection]) -> Drawing | None:
    """The change of AUC at a glance: every way to fine-tune under every attack, pooled over domains where that was done."""
    groups: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for section in sections:
        for group in section.groups:
            pooled = [line for line in group.lines if line.pooled] or group.lines
            if group.role != "no-shake":
                alone = len(pooled) == 1 and pooled[0].pooled
                named = [(section.attack if alone else f"{section.attack}, {line.name}", line.metrics["auc"]) for line in pooled]
                groups.setdefault(group.title, []).extend(named)
    return forest(groups)


def pooled_documents(plan: Plan, ledger: Ledger) -> list[tuple[Pool, dict[str, Any]]]:
    """The pools that are committed, with their `pooled.json`."""
    committed = ledger.committed("pooled")
    read = [(pool, document_of(ledger, pool.node, "pooled.json")) for pool in plan.pools if pool.node.key in committed]
    return [(pool, document) for pool, document in read if document is not None]


Pools = dict[tuple[str, Role, str], list[Line]]


def _pools(plan: Plan, ledger: Ledger) -> Pools:
    """(attack, role, variant) -> the pooled rows that are committed; SP sets of several seeds are pooled apart."""
    where = places(plan)
    several = len(plan.axes.get("sp_seed", ())) > 1
    pools: Pools = {}
    for pool, document in pooled_documents(plan, ledger):
        place = where[pool.trials[0]]
        name = f"all {len(document['domains'])} domains, pooled"
        if several and pool.axes.get("sp_seed") is not None:
            name += f", sp seed {pool.axes['sp_seed']}"
        line = Line(name, pool.node.key, document["metrics"], pooled=True)
        pools.setdefault((pool.attack, place.role, place.variant), []).append(line)
    return pools


def _attack(plan: Plan, ledger: Ledger, attack: str, found: Sequence[Cell], pools: Pools) -> AttackSection:
    order = {trial.key: index for index, trial in enumerate(plan.trials)}
    kept = sorted(sorted(found, key=_change, reverse=True)[:MAX_ROWS], key=lambda cell: (_rank(cell.place), order[cell.trial.key]))
    groups = _groups(plan, attack, kept, pools)
    bounds = [abs(line.metrics["auc"][name]) for group in groups for line in group.lines for name in ("delta_low", "delta_high")]
    shaken = [(group_title(cell.place), cell) for cell in kept if cell.place.role != "no-shake"]
    drawings, legend = roc_drawings(attack, shaken, ledger)
    return AttackSection(attack, groups, max([0.05, *bounds]), drawings, legend, left_out=len(found) - len(kept))


def _change(cell: Cell) -> float:
    return abs(float(cell.metric("auc")["delta"]))


def _rank(place: Place) -> int:
    return ROLE_ORDER.index(place.role)


def group_title(place: Place) -> str:
    """The heading of a place's group."""
    return Group(place.variant, place.role).title


def _groups(plan: Plan, attack: str, found: Sequence[Cell], pools: Pools) -> list[Group]:
    groups: dict[tuple[Role, str], Group] = {}
    seeds = [name for name in ("seed", "sp_seed") if len(plan.axes.get(name, ())) > 1]
    for cell in found:
        place = cell.place
        group = groups.setdefault((place.role, place.variant), Group(place.variant, place.role))
        named = [f"{seed.replace('_', ' ')} {cell.trial.axes[seed]}" for seed in seeds if cell.trial.axes.get(seed) is not None]
        group.lines.append(Line(", ".join([place.domain, *named]), cell.trial.key, cell.document["metrics"]))
    for (role, variant), group in groups.items():
        group.lines += pools.get((attack, role, variant), [])
    return list(groups.values())
