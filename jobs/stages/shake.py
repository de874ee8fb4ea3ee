"""The shake: fine-tune the base on an SP set (or on true members: the positive control), resumable in the middle; or add noise to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from jobs.errors import InputError
from jobs.stages.checkpoints import Checkpoints
from jobs.stages.contract import StageJob
from jobs.stages.models import load_base
from jobs.stages.specs import ShakeStage
from s2l_core.adapters import attach_saved, save
from s2l_core.defences.dp import PROTECTS_MEMBERS
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, read_images
from s2l_core.shake import shake
from s2l_core.specs.adapters import Module, changed_modules

DEFENCE = "defence.json"
RESUMES = True
"""In the middle of a fit; noise begins anew, and takes seconds."""


def run(job: StageJob) -> None:
    """Leaves the adapters' files (docs/decisions/0005), adapter.json, curve.json and, where there is a defence, defence.json.

    Of several processes, rank 0 leaves them and the others nothing.

    Raises:
        s2l_core.defences.Refused: the defence `reject` does not let the set through.
    """
    spec = cast(ShakeStage, job.spec)
    model, records = load_base(job), _training_images(job)
    shaken = shake(
        model,
        records,
        adapters=spec.adapters,
        objective=spec.objective,
        training=spec.training,
        name=spec.name,
        seed=spec.seed,
        prior=_images(job, "prior"),
        defence=spec.defence,
        public=_images(job, "public"),
        own=_images(job, "own"),
        match_norms=_lengths(model, job.folder("match"), spec) if job.has("match") else None,
        micro_batch=job.micro_batch,
        gradient_checkpointing=job.gradient_checkpointing,
        checkpoint=Checkpoints(job) if job.group.rank == 0 else None,
        group=job.group,
        say=job.say,
    )
    with shaken.on:
        if job.group.rank:
            return
        save(shaken.on, job.out)
    (job.out / "curve.json").write_text(json.dumps(vars(shaken.curve)), encoding="utf-8")
    if spec.defence is not None:
        on_members = any(record.member for record in records)
        facts = shaken.facts | ({"protects": PROTECTS_MEMBERS} if on_members and spec.defence.kind == "dp" else {})
        (job.out / DEFENCE).write_text(json.dumps(facts, sort_keys=True, allow_nan=False), encoding="utf-8")


def _training_images(job: StageJob) -> list[ImageRecord]:
    """All of an SP set; of a data set the members only. Noise has none."""
    if not job.has("train"):
        return []
    return [record for record in read_images(job.folder("train") / "images.parquet") if record.member is not False]


def _images(job: StageJob, role: str) -> list[ImageRecord] | None:
    """The further images in that role; None where there are none."""
    return read_images(job.folder(role) / "images.parquet") if job.has(role) else None


def _lengths(model: StableDiffusion, folder: Path, spec: ShakeStage) -> dict[Module, float]:
    """How far another shake moved the model's weights, by module.

    Raises:
        InputError: it moved none where the noise is to be.
    """
    with attach_saved(model, folder) as other:
        norms = other.change_norms()
    noisy = changed_modules(spec.adapters)
    if not any(norms.get(module) for module in noisy):
        raise InputError(
            f"the shake that the noise is to be as long as changed no weight of {' or '.join(noisy)}, so that there would be no noise; "
            "match another one, or one that is trained for longer"
        )
    return norms
