"""What the MLflow mirror shows beside numbers: a trial's ROC plots, a grid's report and table. Nothing private is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dashboards.trial_roc import TrialRocs
    from jobs.ledger.ledger import Ledger
    from jobs.plan.plan import Plan


def trial_artifacts() -> Callable[[Mapping[str, Any]], Mapping[str, bytes]]:
    """Makes a trial's ROC plot (one panel an attack, log-log) of its `metrics.json` by attack."""
    rocs: list[TrialRocs] = []  # made with the first plot: what draws is slow to import

    def make(documents: Mapping[str, Any]) -> Mapping[str, bytes]:
        from dashboards.plots import Curve, Panel
        from dashboards.trial_roc import TrialRocs

        rocs[:] = rocs or [TrialRocs()]
        panels = []
        for attack, document in sorted(documents.items()):
            before, after = ((document["roc"][when]["fpr"], document["roc"][when]["tpr"]) for when in ("before", "after"))
            panels.append(Panel(attack, [Curve("after", before, after)]))
        return {"roc.png": rocs[0].png(panels)} if panels else {}

    return make


def grid_artifacts(plan: Plan, ledger: Ledger) -> Callable[[], Mapping[str, bytes]]:
    """Makes the grid's report and its table."""

    def make() -> Mapping[str, bytes]:
        from dashboards import tables
        from dashboards.report import report
        from dashboards.results import rows

        return {"report.html": report(plan, ledger).encode(), "results.csv": tables.to_csv(rows(plan, ledger))}

    return make
