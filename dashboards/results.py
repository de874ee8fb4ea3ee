"""A grid's results, read from the ledger: one cell a trial and attack, one flat row a metric."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dashboards.places import Place, axis_names, places
from dashboards.tables import Table, by_trial
from jobs.errors import Corrupt
from jobs.keys import canonical_json
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.plan.graph import Node
from jobs.plan.plan import Plan, Trial

READERS = 16
LABELS = ("attack", "metric")
MEASURES = ("before", "after", "delta", "delta_low", "delta_high", "verdict")


@dataclass(frozen=True)
class Cell:
    """One trial under one attack: its `metrics.json` without the ROC curves, and where it stands in the grid."""

    trial: Trial
    attack: str
    document: dict[str, Any]
    place: Place
    version: str
    device: str

    def metric(self, name: str) -> dict[str, Any]:
        metric: dict[str, Any] = self.document["metrics"][name]
        return metric


def cells(plan: Plan, ledger: Ledger) -> list[Cell]:
    """The trials whose metrics are all committed, sorted by trial key and attack."""
    committed = ledger.committed("metrics")
    done = [trial for trial in plan.trials if all(node.key in committed for node in trial.metrics.values())]
    read = _Measured(ledger)
    read.ahead(node for trial in done for node in trial.metrics.values())
    where = places(plan)
    found = []
    for trial in sorted(done, key=lambda trial: trial.key):
        measured = {attack: read(node) for attack, node in sorted(trial.metrics.items())}
        if None not in measured.values():
            place = where[trial.key]
            found += [Cell(trial, attack, one.document, place, one.version, one.device) for attack, one in measured.items() if one]
    return found


@dataclass(frozen=True)
class _Stage:
    document: dict[str, Any]
    version: str
    device: str


class _Measured:
    """Each metrics stage, read once however many trials share it; ROC curves are large and left behind."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read: dict[str, _Stage | None] = {}

    def ahead(self, nodes: Iterable[Node]) -> None:
        """Read these, many at a time: a store far away takes long to answer, and not longer for many."""
        todo = list(dict.fromkeys(nodes))
        with ThreadPoolExecutor(READERS) as pool:
            self._read.update(zip((node.key for node in todo), pool.map(self._stage, todo), strict=True))

    def __call__(self, node: Node) -> _Stage | None:
        if node.key not in self._read:
            self._read[node.key] = self._stage(node)
        return self._read[node.key]

    def _stage(self, node: Node) -> _Stage | None:
        manifest = self._ledger.manifest(node.kind, node.key)
        document = _document(self._ledger, manifest, "metrics.json") if manifest is not None else None
        if manifest is None or document is None:
            return None
        del document["roc"]
        return _Stage(document, manifest.code_version, str(manifest.made.get("device", "")))


def roc_of(ledger: Ledger, cell: Cell) -> dict[str, Any] | None:
    """A cell's ROC curves, `{"before": {"fpr", "tpr"}, "after": {...}}`; None when they are no longer whole."""
    document = document_of(ledger, cell.trial.metrics[cell.attack], "metrics.json")
    return document and dict(document["roc"])


def document_of(ledger: Ledger, node: Node, name: str) -> dict[str, Any] | None:
    """A committed stage's JSON payload, verified; None, with a notice, when it is not (or no longer) whole."""
    manifest = ledger.manifest(node.kind, node.key)
    return _document(ledger, manifest, name) if manifest is not None else None


def _document(ledger: Ledger, manifest: Manifest, name: str) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(ledger.read(manifest, name), object_pairs_hook=_one_of_each_name)
    except Corrupt as error:
        ledger.notice(str(error))
        return None
    return document


def _one_of_each_name(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are the same strings in all documents: of thousands of them they are a fifth of the memory."""
    return {sys.intern(name): value for name, value in pairs}


def rows(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    """Flat rows, one a trial, attack and metric, sorted by these; nothing in them changes from run to run.

    Columns: `trial_key`, the axes, `attack`, `metric`, `before`, `after`, `delta`, `delta_low`, `delta_high`, `verdict`, `n_member`,
    `n_non_member`.
    """
    return rows_of(plan, cells(plan, ledger))


def table(plan: Plan, ledger: Ledger) -> Table:
    """The rows, and how many trials are not in them yet."""
    return by_trial(rows(plan, ledger), columns(plan), LABELS, {trial.key for trial in plan.trials})


def rows_of(plan: Plan, found: list[Cell]) -> list[dict[str, Any]]:
    """The flat rows of cells that were read before."""
    names = axis_names(plan)
    return [_row(cell, names, metric) for cell in found for metric in sorted(cell.document["metrics"])]


def columns(plan: Plan) -> list[str]:
    """The columns of `rows`, also where there is no row yet."""
    return ["trial_key", *axis_names(plan), "attack", "metric", *MEASURES, "n_member", "n_non_member"]


def _row(cell: Cell, names: list[str], metric: str) -> dict[str, Any]:
    values = cell.metric(metric)
    row: dict[str, Any] = {"trial_key": cell.trial.key}
    row |= {name: flat(cell.trial.axes.get(name)) for name in names}
    row |= {"attack": cell.attack, "metric": metric}
    row |= {name: values[name] for name in MEASURES}
    return row | {"n_member": cell.document["n_member"], "n_non_member": cell.document["n_non_member"]}


def flat(value: Any) -> Any:
    """A value that fits a table's cell: structured ones as their JSON text."""
    return canonical_json(value) if isinstance(value, dict | list | tuple) else value
