"""Which members the models give back, summed over the trials of each way: the report's table, and curves against the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboards import budget
from dashboards.comparisons import LEVEL
from dashboards.drawings import BEFORE_AND_AFTER, Drawing, Key, names_of
from dashboards.extracted import documents
from dashboards.groups import ROLE_ORDER, with_role
from dashboards.places import Place, places
from dashboards.precision import Precision
from dashboards.words import listed, plural
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan
from s2l_core.metrics.distinct import Counted, summed_interval

MAX_CURVES = 8
SIDES = {"members": "members_compared", "non_members": "non_members"}


@dataclass
class Shown:
    """The distinct images of one side that a way's models show, summed over its trials.

    Attributes:
        changes, levels: domain -> the change of each of its trials, and the count after, with their intervals.
        found_at: (before, after): the positions at which candidates showed another image, of all trials.
    """

    before: int = 0
    after: int = 0
    changes: dict[str, list[Counted]] = field(default_factory=dict)
    levels: dict[str, list[Counted]] = field(default_factory=dict)
    found_at: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))

    @property
    def change(self) -> Counted:
        return summed_interval(self.changes)

    def add(self, domain: str, change: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        self.before += int(change["before"])
        self.after += int(change["after"])
        self.changes.setdefault(domain, []).append(Counted(change["delta"], change["low"], change["high"]))
        self.levels.setdefault(domain, []).append(Counted(after["images"], after["low"], after["high"]))
        for positions, found in zip(self.found_at, (before, after), strict=True):
            positions += found["found_at"]


@dataclass
class GivenBack:
    """One way to change the model under one rule: distinct images shown, summed over its trials.

    Attributes:
        members, non_members: out of `images` of either.
        beyond: domain -> the change of members beyond that of non-members, of each of its trials.
        candidates: drawn, of all trials.
        budget: candidates that a trial asked for.
        sure: trials in which members are shown more often than non-members, p below 0.05 (not corrected).
    """

    place: Place
    rule: str
    members: Shown = field(default_factory=Shown)
    non_members: Shown = field(default_factory=Shown)
    beyond: dict[str, list[Counted]] = field(default_factory=dict)
    images: int = 0
    candidates: int = 0
    budget: int = 0
    trials: int = 0
    sure: int = 0
    precision: Precision = field(default_factory=Precision)

    @property
    def change_beyond(self) -> Counted:
        return summed_interval(self.beyond)

    @property
    def anything(self) -> bool:
        return any(side.before or side.after for side in (self.members, self.non_members))

    def add(self, domain: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        old, new, change = before["rules"][self.rule], after["rules"][self.rule], after["change"][self.rule]
        for side, name in ((self.members, SIDES["members"]), (self.non_members, SIDES["non_members"])):
            side.add(domain, change[name], old[name], new[name])
        self.beyond.setdefault(domain, []).append(Counted(*(change["beyond"][name] for name in ("delta", "low", "high"))))
        self.images += int(after["compared"])
        self.candidates += int(after["n_candidates"])
        self.budget = max(self.budget, int(after["spec"]["candidates"]))
        self.trials += 1
        self.precision.add(before, after, self.rule)
        found = new["precision"]
        self.sure += found["p_value"] is not None and found["p_value"] < LEVEL and found["members"] > found["non_members"]


def given_back(plan: Plan, ledger: Ledger) -> list[GivenBack]:
    """One row a way and rule, in the report's order of ways."""
    where = places(plan)
    found: dict[tuple[str, str, str], GivenBack] = {}
    seen: set[tuple[str, str]] = set()
    for trial in sorted(plan.trials, key=lambda trial: ROLE_ORDER.index(where[trial.key].role)):
        # a model is asked for its own domain, whatever else it is attacked on: one extraction for all of these
        place, way = where[trial.key], (where[trial.key].change_words, trial.extraction.key if trial.extraction is not None else "")
        both = documents(ledger, trial) if place.role != "transfer" and way not in seen else None
        seen.add(way)
        for rule in both[1]["rules"] if both is not None else ():
            one = found.setdefault((place.role, place.change_words, rule), GivenBack(place, rule))
            one.add(place.domain, *both)  # type: ignore[misc]
    return list(found.values())


@dataclass(frozen=True)
class Curves:
    """Distinct images against the number of candidates, a drawing for each way and rule that shows any.

    Attributes:
        note: what has no curve, and why; empty when all have one.
    """

    drawings: list[Drawing]
    note: str


def curves(rows: Sequence[GivenBack]) -> Curves:
    """The rows' curves."""
    shown = [row for row in rows if row.anything]
    drawn = shown[:MAX_CURVES]
    names = names_of(*(("extraction", _title(row)) for row in drawn))
    drawings = [_drawing(name, row) for name, row in zip(names, drawn, strict=True)]
    nothing = [_title(row) for row in rows if not row.anything]
    told = [f"Nothing is shown, and no curve drawn, of {listed(nothing)}."] if nothing and shown else []
    told += [f"Of {len(shown)} curves the first {MAX_CURVES} are drawn."] if len(shown) > MAX_CURVES else []
    return Curves(drawings, " ".join(told))


def _title(row: GivenBack) -> str:
    return f"{with_role(row.place.change_words, row.place.role)}, {row.rule}"


def _drawing(name: str, row: GivenBack) -> Drawing:
    sides = [budget.Found(*side.found_at, summed_interval(side.levels)) for side in (row.members, row.non_members)]
    figure = budget.against_budget(*sides, budget=row.budget)
    way = with_role(row.place.change_words, row.place.role)
    words = (
        f"Distinct images shown by {row.rule} against the number of candidates, {way}, summed over {plural(row.trials, 'trial')} of "
        f"{row.budget:,} candidates: members {row.members.before} before and {row.members.after} after, non-members "
        f"{row.non_members.before} before and {row.non_members.after} after."
    )
    keys = (Key("members", budget.MEMBERS), Key("non-members", budget.NON_MEMBERS), *BEFORE_AND_AFTER)
    return Drawing(_title(row), words, name, f"Given back: {_title(row)}", figure, keys)
