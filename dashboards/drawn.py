"""What trials' models draw, as flat rows: one a trial and measure of fidelity (docs/fidelity.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dashboards.places import axis_names
from dashboards.results import document_of, flat
from dashboards.tables import Table, by_trial
from jobs.ledger.ledger import Ledger
from jobs.plan import Plan

LABELS = ("features", "measure")
VALUES = ("before", "after", "delta", "delta_low", "delta_high", "n_pairs", "n_rejected")


def rows(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    """Flat rows, one a trial and measure, sorted by these; a trial that shakes nothing, or measures no fidelity, has none.

    Columns: `trial_key`, the axes, `features`, `measure`, `before`, `after`, `delta`, `delta_low`, `delta_high` (none for Frechet
    distances, which have no pairs), `n_pairs` (images drawn before and after), `n_rejected` (by the safety checker, after; none where
    it was off).
    """
    names = axis_names(plan)
    found = []
    for trial in sorted(plan.trials, key=lambda trial: trial.key):
        document = document_of(ledger, trial.fidelity, "fidelity.json") if trial.fidelity is not None else None
        if document is not None and "change" in document:
            place = {"trial_key": trial.key} | {name: flat(trial.axes.get(name)) for name in names}
            found += [place | row for row in sorted(_measures(document), key=lambda row: str(row["measure"]))]
    return found


def columns(plan: Plan) -> list[str]:
    """The columns of `rows`, also where there is no row yet."""
    return ["trial_key", *axis_names(plan), *LABELS, *VALUES]


def table(plan: Plan, ledger: Ledger) -> Table:
    """The rows, and how many of the trials that are to have some have none yet."""
    asked = {trial.key for trial in plan.trials if trial.fidelity is not None and trial.shake is not None}
    return by_trial(rows(plan, ledger), columns(plan), LABELS, asked)


def _measures(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    change = document["change"]
    for measure, one in change.items():
        if measure == "frechet":
            for side, delta in one.items():
                after = document["frechet"][side]["value"]
                yield _row(document, f"frechet.{side}", after - delta, after, delta)
        elif measure != "pairs":
            yield _row(document, measure, one["before"], one["after"], one["delta"], one["low"], one["high"])


def _row(document: Mapping[str, Any], measure: str, before: float, after: float, delta: float, *interval: float) -> dict[str, Any]:
    low, high = interval or (None, None)
    values = before, after, delta, low, high, document["change"]["pairs"], document["n_rejected"]
    return {"features": document["features"]["kind"], "measure": measure} | dict(zip(VALUES, values, strict=True))
