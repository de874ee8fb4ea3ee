"""What the MLflow mirror shows beside numbers: a trial's ROC plots, a grid's report and table. Nothing private is in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.ledger.ledger import Ledger
    from jobs.plan import Plan, Trial


def trial_artifacts(ledger: Ledger) -> Callable[[Trial], Mapping[str, bytes]]:
    """Makes a trial's ROC plot (one panel an attack, log-log)."""

    def make(trial: Trial) -> Mapping[str, bytes]:
        from dashboards import plots

        panels = []
        for attack, node in sorted(trial.metrics.items()):
            manifest = ledger.manifest(node.kind, node.key)
            if manifest is None:
                continue
            roc = json.loads(ledger.read(manifest, "metrics.json"))["roc"]
            before, after = ((roc[when]["fpr"], roc[when]["tpr"]) for when in ("before", "after"))
            panels.append(plots.Panel(attack, [plots.Curve("after", before, after)]))
        return {"roc.png": plots.png(plots.roc(panels, legend=False), dpi=96)} if panels else {}

    return make


def grid_artifacts(plan: Plan, ledger: Ledger) -> Callable[[], Mapping[str, bytes]]:
    """Makes the grid's report and its table."""

    def make() -> Mapping[str, bytes]:
        from dashboards import tables
        from dashboards.report import report
        from dashboards.results import rows

        return {"report.html": report(plan, ledger).encode(), "results.csv": tables.to_csv(rows(plan, ledger))}

    return make
