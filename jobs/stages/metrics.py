"""What the scores before and after say: numbers, intervals, verdicts, ROC curves."""

from __future__ import annotations

import json
from typing import cast

from jobs.stages.contract import StageJob
from jobs.stages.specs import MetricsStage
from s2l_core.metrics.compare import compare
from s2l_core.scores import read_scores


def run(job: StageJob) -> None:
    """Leaves metrics.json."""
    before, after = (read_scores(job.folder(role) / "scores.parquet") for role in ("before", "after"))
    document = compare(before, after, cast(MetricsStage, job.spec).metrics)
    (job.out / "metrics.json").write_text(json.dumps(document, sort_keys=True, allow_nan=False), encoding="utf-8")
