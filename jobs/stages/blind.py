"""The blind baseline of a data set: can members be told from non-members without the model?"""

from __future__ import annotations

import json
from typing import cast

from jobs.stages.contract import StageJob
from jobs.stages.specs import BlindStage
from s2l_core.blind import blind_baseline
from s2l_core.images import read_images


def run(job: StageJob) -> None:
    """Leaves blind.json."""
    spec = cast(BlindStage, job.spec)
    document = blind_baseline(read_images(job.folder("data") / "images.parquet"), folds=spec.folds, seed=spec.seed)
    (job.out / "blind.json").write_text(json.dumps(document, sort_keys=True, allow_nan=False), encoding="utf-8")
