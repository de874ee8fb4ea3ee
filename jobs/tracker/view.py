"""A ready-made table for the MLflow UI: the axes that vary, each attack's AUC before, after and difference, its verdict, and one measure of
whatever else is measured.

MLflow keeps shared views of an experiment's runs as experiment tags (`mlflow.sharedViewState.KEY`, opened by `?viewStateShareKey=KEY`).
The UI's own format, seen in 3.17: should another version not understand it, the tag does no harm.
"""

from __future__ import annotations

import json

from jobs.plan.plan import Plan
from jobs.tracker.beside import keys_of
from jobs.tracker.rows import safe

KEY = "leakage"
PARAM_PX, METRIC_PX = 90, 135
BESIDE = {"extract": "extraction/tile_max/members", "fidelity": "fidelity/right_identity", "memorisation": "memorisation/score"}
"""Kind of stage -> the one measure of it that the table has room for."""
TAG = f"mlflow.sharedViewState.{KEY}"


def view_state(plan: Plan) -> str:
    """The view's JSON: trials only, by name (the UI folds runs into a tree when they are sorted by time)."""
    attacks = sorted({safe(attack) for trial in plan.trials for attack in trial.metrics})
    beside = {kind for trial in plan.trials for kind in keys_of(trial)}
    columns = [f"params.`{safe(name)}`" for name, values in plan.axes.items() if len(values) > 1]
    columns += [f"metrics.`{attack}/auc/{bound}`" for attack in attacks for bound in ("before", "after", "delta")]
    columns += [f"metrics.`{name}/{bound}`" for kind, name in BESIDE.items() if kind in beside for bound in ("before", "after")]
    columns += [f"tags.`s2l.verdict.{attack}`" for attack in attacks]
    return json.dumps(
        {
            "searchFilter": "tags.`s2l.trial_key` LIKE '%'",
            "orderByKey": "tags.`mlflow.runName`",
            "orderByAsc": True,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": columns,
            "columnOrder": columns,
            "columnWidths": {name: PARAM_PX if name.startswith("params.") else METRIC_PX for name in columns},
        },
        sort_keys=True,
    )


def link(experiment: str) -> str:
    """The view's address, relative to the MLflow UI's."""
    return f"#/experiments/{experiment}/runs?viewStateShareKey={KEY}"
