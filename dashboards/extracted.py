"""Which members trials' models give back, as flat rows: one a trial, matching rule and measure (docs/extraction.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.comparisons import LEVEL
from dashboards.groups import ROLE_ORDER
from dashboards.places import Place, axis_names, places
from dashboards.results import document_of, flat
from dashboards.tables import Table, by_trial
from jobs.ledger.ledger import Ledger
from jobs.plan import Plan, Trial

FILE = "extraction.json"
LABELS = ("rule", "measure")
VALUES = ("before", "after", "delta", "delta_low", "delta_high", "p_value", "candidates", "images")


def table(plan: Plan, ledger: Ledger) -> Table:
    """The rows, and how many of the trials that are to have some have none yet."""
    asked = {trial.key for trial in plan.trials if trial.extraction is not None and trial.shake is not None}
    return by_trial(rows(plan, ledger), columns(plan), LABELS, asked)


def rows(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    """Flat rows, sorted by trial, rule and measure; a trial that shakes nothing, or extracts nothing, has none.

    Measures, by each `rule`: `members` and `non_members`, the distinct images shown out of equally many (`images`) of either: the second
    are false matches; `members_all`, out of all members; `precision` with its p-value after. And, for no rule, `retrieval_precision`. They
    have no interval.
    """
    names = axis_names(plan)
    found = []
    for trial in sorted(plan.trials, key=lambda trial: trial.key):
        documents = _documents(ledger, trial)
        if documents is not None:
            place = {"trial_key": trial.key} | {name: flat(trial.axes.get(name)) for name in names}
            found += [place | row for row in sorted(_measures(*documents), key=lambda row: (row["rule"], row["measure"]))]
    return found


def columns(plan: Plan) -> list[str]:
    """The columns of `rows`, also where there is no row yet."""
    return ["trial_key", *axis_names(plan), *LABELS, *VALUES]


@dataclass
class GivenBack:
    """One way to change the model under one rule: distinct images shown, summed over its trials.

    Attributes:
        members, non_members: (before, after), out of `images` of either.
        sure: trials in which members are shown more often than non-members, p below 0.05 (not corrected).
    """

    place: Place
    rule: str
    members: tuple[int, int] = (0, 0)
    non_members: tuple[int, int] = (0, 0)
    images: int = 0
    candidates: int = 0
    trials: int = 0
    sure: int = 0


def given_back(plan: Plan, ledger: Ledger) -> list[GivenBack]:
    """What the report shows: one row a way and rule, in the report's order of ways."""
    where = places(plan)
    found: dict[tuple[str, str, str], GivenBack] = {}
    seen: set[tuple[str, str]] = set()
    for trial in sorted(plan.trials, key=lambda trial: ROLE_ORDER.index(where[trial.key].role)):
        # a model is asked for its own domain, whatever else it is attacked on: one extraction for all of these
        way = where[trial.key].variant, trial.extraction.key if trial.extraction is not None else ""
        if where[trial.key].role == "transfer" or way in seen:
            continue
        seen.add(way)
        documents = _documents(ledger, trial)
        for rule in documents[1]["rules"] if documents is not None else ():
            place = where[trial.key]
            one = found.setdefault((place.role, place.variant, rule), GivenBack(place, rule))
            _add(one, rule, *documents)  # type: ignore[misc]
    return list(found.values())


def _add(one: GivenBack, rule: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    sides = [document["rules"][rule] for document in (before, after)]
    counts = {name: [int(side[name]["images"]) for side in sides] for name in ("members_compared", "non_members")}
    one.members = (one.members[0] + counts["members_compared"][0], one.members[1] + counts["members_compared"][1])
    one.non_members = (one.non_members[0] + counts["non_members"][0], one.non_members[1] + counts["non_members"][1])
    one.images += int(after["compared"])
    one.candidates += int(after["n_candidates"])
    one.trials += 1
    precision = sides[1]["precision"]
    one.sure += precision["p_value"] is not None and precision["p_value"] < LEVEL and precision["members"] > precision["non_members"]


def _documents(ledger: Ledger, trial: Trial) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What was found before and after."""
    node = trial.extraction if trial.shake is not None else None
    before = node.parent("before") if node is not None else None
    if node is None or before is None:
        return None
    old, new = document_of(ledger, before, FILE), document_of(ledger, node, FILE)
    return (old, new) if old is not None and new is not None else None


def _measures(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    compared = after["compared"]
    for rule, found in after["rules"].items():
        old = before["rules"][rule]
        yield _row(after, rule, "members", old["members_compared"]["images"], found["members_compared"]["images"], images=compared)
        yield _row(after, rule, "members_all", old["members"]["images"], found["members"]["images"], images=after["n_member"])
        yield _row(after, rule, "non_members", old["non_members"]["images"], found["non_members"]["images"], images=compared)
        values = old["precision"]["value"], found["precision"]["value"]
        yield _row(after, rule, "precision", *values, p_value=found["precision"]["p_value"], images=compared)
    values = before["retrieval"]["value"], after["retrieval"]["value"]
    yield _row(after, "", "retrieval_precision", *values, p_value=after["retrieval"]["p_value"], images=compared)


def _row(
    document: Mapping[str, Any],
    rule: str,
    measure: str,
    before: float | None,
    after: float | None,
    *,
    p_value: float | None = None,
    images: int,
) -> dict[str, Any]:
    delta = after - before if before is not None and after is not None else None
    values = before, after, delta, None, None, p_value, document["n_candidates"], images
    return {"rule": rule, "measure": measure} | dict(zip(VALUES, values, strict=True))
