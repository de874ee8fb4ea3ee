"""One statement over the domains and seeds of a group of trials. The i-th `before` belongs to the i-th `after`."""

from __future__ import annotations

import json
from typing import cast

from jobs.stages.contract import StageJob
from jobs.stages.specs import PooledStage
from s2l_core.metrics.pooled import pool
from s2l_core.scores import read_scores


def run(job: StageJob) -> None:
    """Leaves pooled.json."""
    before, after = ([read_scores(folder / "scores.parquet") for folder in job.folders(role)] for role in ("before", "after"))
    document = pool(list(zip(before, after, strict=True)), cast(PooledStage, job.spec).metrics)
    (job.out / "pooled.json").write_text(json.dumps(document, sort_keys=True, allow_nan=False), encoding="utf-8")
