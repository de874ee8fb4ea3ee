"""The SP set of a domain: images the model itself draws. Resumable in the middle of a set."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jobs.errors import InputError
from jobs.stages.checkpoints import Checkpoints
from jobs.stages.contract import StageJob
from jobs.stages.models import load_base
from jobs.stages.rejected import FILE as REJECTED
from jobs.stages.rejected import REMEDY
from jobs.stages.specs import PriorStage, SpStage
from s2l_core.images import ImageRecord, read_images, write_images
from s2l_core.specs.synthesis import SynthesisSpec
from s2l_core.synthesize import prompt_of, synthesize

if TYPE_CHECKING:
    from s2l_core.safety import SafetyChecker

BATCH_SIZE = 16
RESUMES = True
"""In the middle of a set."""
IMAGES, REJECTED_SO_FAR = "images.parquet", "rejected-so-far.json"


@dataclass
class Drawn:
    """How far a set is: its images, and the indices that the safety checker rejected."""

    records: list[ImageRecord] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)

    @property
    def next(self) -> int:
        """The first index that is not drawn yet."""
        return len(self.records) + len(self.rejected)


def run(job: StageJob) -> None:
    """Leaves images.parquet (or its shards) and, where the safety checker is on, rejected.json.

    The set is drawn in batches that always start at a multiple of BATCH_SIZE, so that a resumed set has the bytes of an uninterrupted one.

    Raises:
        InputError: the safety checker is on and the model has none, or it rejects every image.
    """
    synthesis = cast(SpStage | PriorStage, job.spec).synthesis
    checker = _checker(job) if synthesis.safety_checker else None
    drawn = _draw(job, synthesis, checker)
    if not drawn.records:
        raise InputError(
            f"the safety checker rejected {len(drawn.rejected)} of {synthesis.images} images drawn for {synthesis.name!r}: none is left to "
            f"fine-tune on, to measure or to match with members; {REMEDY}"
        )
    write_images(job.out / IMAGES, drawn.records)
    if checker is not None:
        (job.out / REJECTED).write_text(json.dumps(_told(synthesis, drawn), sort_keys=True), encoding="utf-8")


def _draw(job: StageJob, synthesis: SynthesisSpec, checker: SafetyChecker | None) -> Drawn:
    from s2l_core.adapters import attached

    model = load_base(job)
    drawn = _load(job)
    together = min(BATCH_SIZE, job.micro_batch or BATCH_SIZE)
    checkpoints = Checkpoints(job)
    with attached(model, job.folder("shake") if job.has("shake") else None):
        while drawn.next < synthesis.images:
            stop = min(drawn.next + BATCH_SIZE, synthesis.images)
            rejected: list[int] = []
            batch = synthesize(
                model, synthesis, start=drawn.next, stop=stop, batch_size=together, checker=checker, on_rejected=rejected.append
            )
            drawn.records.extend(batch)
            drawn.rejected.extend(rejected)
            job.say(stop / synthesis.images, f"{stop} of {synthesis.images} images{_and_rejected(drawn)}")
            if stop < synthesis.images and checkpoints.due():
                _save(checkpoints, job.out.parent, drawn)
    job.made["batch_size"] = together
    return drawn


def _checker(job: StageJob) -> SafetyChecker:
    from s2l_core.safety import SafetyChecker

    if not job.has("checker"):
        raise InputError("the safety checker is on, and the stage has no model to take it from; plan the grid again")
    return SafetyChecker.load(job.folder("checker"), device=job.device)


def _told(synthesis: SynthesisSpec, drawn: Drawn) -> dict[str, object]:
    rejected = [{"index": index, "prompt": prompt_of(synthesis, index)} for index in drawn.rejected]
    return {"asked": synthesis.images, "kept": len(drawn.records), "rejected": rejected}


def _and_rejected(drawn: Drawn) -> str:
    return f", {len(drawn.rejected)} rejected" if drawn.rejected else ""


def _load(job: StageJob) -> Drawn:
    folder = Path(tempfile.mkdtemp(dir=job.out.parent))
    try:
        if not job.progress.load(folder):
            return Drawn()
        return Drawn(read_images(folder / IMAGES), json.loads((folder / REJECTED_SO_FAR).read_text(encoding="utf-8")))
    finally:
        shutil.rmtree(folder)


def _save(checkpoints: Checkpoints, scratch: Path, drawn: Drawn) -> None:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        write_images(folder / IMAGES, drawn.records)
        (folder / REJECTED_SO_FAR).write_text(json.dumps(drawn.rejected), encoding="utf-8")
        checkpoints.save(folder)
    finally:
        shutil.rmtree(folder)
