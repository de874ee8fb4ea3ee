"""The SP set of a domain: images the model itself draws. Resumable in the middle of a set."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import cast

from jobs.stages.contract import StageJob
from jobs.stages.models import load_base
from jobs.stages.specs import PriorStage, SpStage
from s2l_core.images import ImageRecord, read_images, write_images
from s2l_core.synthesize import synthesize

BATCH = 16
CHECKPOINT_S = 15.0


def run(job: StageJob) -> None:
    """Draw the set in batches that always start at a multiple of BATCH, so that a resumed set has the bytes of an uninterrupted one."""
    from s2l_core.adapters import attached

    synthesis = cast(SpStage | PriorStage, job.spec).synthesis
    model = load_base(job)
    records = _load(job)
    with attached(model, job.folder("shake") if job.has("shake") else None):
        saved = time.monotonic()
        while len(records) < synthesis.images:
            stop = min(len(records) + BATCH, synthesis.images)
            records.extend(synthesize(model, synthesis, start=len(records), stop=stop, batch_size=BATCH))
            job.say(len(records) / synthesis.images, f"{len(records)} of {synthesis.images} images")
            if time.monotonic() - saved > CHECKPOINT_S and len(records) < synthesis.images:
                _save(job, records)
                saved = time.monotonic()
    write_images(job.out / "images.parquet", records)


def _load(job: StageJob) -> list[ImageRecord]:
    folder = Path(tempfile.mkdtemp(dir=job.out.parent))
    try:
        found = job.progress.load(folder)
        return read_images(folder / "images.parquet") if found else []
    finally:
        shutil.rmtree(folder)


def _save(job: StageJob, records: list[ImageRecord]) -> None:
    folder = Path(tempfile.mkdtemp(dir=job.out.parent))
    try:
        write_images(folder / "images.parquet", records)
        job.progress.save(folder)
    finally:
        shutil.rmtree(folder)
