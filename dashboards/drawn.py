"""What trials' models draw, as flat rows: one a trial and measure of fidelity (docs/fidelity.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dashboards.places import axis_names
from dashboards.results import document_of, flat
from dashboards.tables import Table, by_trial
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan, Trial

FILE = "fidelity.json"
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
        documents = documents_of(ledger, trial)
        if documents is not None:
            place = {"trial_key": trial.key} | {name: flat(trial.axes.get(name)) for name in names}
            found += [place | row for row in sorted(_measures(*documents), key=lambda row: str(row["measure"]))]
    return found


def documents_of(ledger: Ledger, trial: Trial) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What was measured before and after, where there is a change between them; None where one is missing or nothing is shaken."""
    unshaken = trial.fidelity.parent("before") if trial.fidelity is not None else None
    if trial.fidelity is None or unshaken is None:
        return None
    before, after = document_of(ledger, unshaken, FILE), document_of(ledger, trial.fidelity, FILE)
    return (before, after) if before is not None and after is not None and "change" in after else None


def frechet_of(before: Mapping[str, Any], after: Mapping[str, Any], side: str) -> tuple[float, float, float] | None:
    """Before, after and delta, each as it was measured; None where before and after are of different numbers of images: their biases
    differ, so that they cannot be compared."""
    if "frechet" not in after["change"]:
        return None
    return before["frechet"][side]["value"], after["frechet"][side]["value"], after["change"]["frechet"][side]


def columns(plan: Plan) -> list[str]:
    """The columns of `rows`, also where there is no row yet."""
    return ["trial_key", *axis_names(plan), *LABELS, *VALUES]


def table(plan: Plan, ledger: Ledger) -> Table:
    """The rows, and how many of the trials that are to have some have none yet."""
    asked = {trial.key for trial in plan.trials if trial.fidelity is not None and trial.shake is not None}
    return by_trial(rows(plan, ledger), columns(plan), LABELS, asked)


def _measures(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    change = after["change"]
    for measure, one in change.items():
        if measure == "frechet":
            for side in one:
                values = frechet_of(before, after, side)
                assert values is not None
                yield _row(after, f"frechet.{side}", *values)
        elif measure != "pairs":
            yield _row(after, measure, one["before"], one["after"], one["delta"], one["low"], one["high"])


def _row(document: Mapping[str, Any], measure: str, before: float, after: float, delta: float, *interval: float) -> dict[str, Any]:
    low, high = interval or (None, None)
    values = before, after, delta, low, high, document["change"]["pairs"], document["n_rejected"]
    return {"features": document["features"]["kind"], "measure": measure} | dict(zip(VALUES, values, strict=True))
