"""How strongly trials' models know their domains' names, as flat rows: one a trial and measure (docs/attacks.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dashboards.places import axis_names
from dashboards.results import document_of, flat
from dashboards.tables import Table, by_trial
from jobs.ledger.ledger import Ledger
from jobs.plan.graph import Node
from jobs.plan.plan import Plan, Trial

FILE = "memorisation.json"
LABELS = ("measure",)
VALUES = ("before", "after", "delta", "delta_low", "delta_high", "n_controls")
MEASURES = ("score", "control_mean", "ratio", "rank")


def table(plan: Plan, ledger: Ledger) -> Table:
    """The rows, and how many of the trials that are to have some have none yet. For people, the highest score comes first."""
    found = rows(plan, ledger)
    asked = {trial.key for trial in plan.trials if trial.memorisation is not None}
    scores = sorted((-row["after"], row["trial_key"]) for row in found if row["measure"] == "score")
    return by_trial(found, columns(plan), LABELS, asked, leading=[key for _, key in scores])


def rows(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    """Flat rows, sorted by trial and measure; where nothing is shaken, after is before.

    Measures: `score`, the size of the text-conditional noise of the domain's prompts; `control_mean`, the mean of the same over
    `n_controls` names that the model never saw; `ratio`, the one over the other; `rank`, the name's place among itself and the controls (1:
    above them all). None has an interval.
    """
    names, read = axis_names(plan), Documents(ledger)
    found = []
    for trial in sorted(plan.trials, key=lambda trial: trial.key):
        documents = read.of(trial)
        if documents is not None:
            place = {"trial_key": trial.key} | {name: flat(trial.axes.get(name)) for name in names}
            found += [place | row for row in _measures(*documents)]
    return found


def columns(plan: Plan) -> list[str]:
    """The columns of `rows`, also where there is no row yet."""
    return ["trial_key", *axis_names(plan), *LABELS, *VALUES]


class Documents:
    """What was found of trials' names; each document is read once, however many trials share it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read: dict[str, dict[str, Any] | None] = {}

    def of(self, trial: Trial) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Before and after: one document twice where nothing is shaken; None while one is missing."""
        node = trial.memorisation
        if node is None:
            return None
        after, before = self._document(node), self._document(node.parent("before") or node)
        return (before, after) if before is not None and after is not None else None

    def _document(self, node: Node) -> dict[str, Any] | None:
        if node.key not in self._read:
            self._read[node.key] = document_of(self._ledger, node, FILE)
        return self._read[node.key]


def _measures(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for measure in sorted(MEASURES):
        old, new = before[measure], after[measure]
        delta = new - old if old is not None and new is not None else None
        values = old, new, delta, None, None, len(after["controls"])
        yield {"measure": measure} | dict(zip(VALUES, values, strict=True))
