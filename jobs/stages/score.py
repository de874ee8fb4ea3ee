"""Attack scores of one model on one data set. Attacks on the same model and images share their network calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from jobs.errors import InputError
from jobs.stages.choice import chosen_attack
from jobs.stages.contract import StageJob
from jobs.stages.models import load_base
from jobs.stages.specs import ScoreStage
from s2l_core.captioners.table import AutomaticCaptions, read_captions
from s2l_core.captions import prompts_for
from s2l_core.images import ImageRecord, read_images, to_pixels
from s2l_core.scores import Scores, write_scores
from s2l_core.specs.attacks import AnyAttack, ChosenAttack, SecMINNsAttack
from s2l_core.specs.captions import AutomaticCaption

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from s2l_core.attacks.engine import AttackRun
    from s2l_core.families.sd import StableDiffusion


class Pass(NamedTuple):
    """What must be equal for attacks to share network calls: how images are encoded, by which autoencoder, and the precision."""

    latents: Literal["mode", "sample"]
    autoencoder: Literal["own", "base"]
    precision: Literal["fp32", "fp64"]


BATCH_SIZE = 32
"""Images in one network call, whatever the attacks. Scores depend on it by rounding: all runs take the same but after an out-of-memory."""


def run(job: StageJob) -> None:
    """Leaves scores.parquet."""
    run_fused([job])


def run_fused(jobs: Sequence[StageJob]) -> None:
    """Leaves each job its scores.parquet, with the bytes it would have alone.

    Args:
        jobs: score stages of the same base, shake (or none), data, and captions where they are automatic.
    """
    from s2l_core.adapters import attached
    from s2l_core.attacks.precision import exact_arithmetic

    first = jobs[0]
    assert all(_shared(job) == _shared(first) for job in jobs)
    records = _records(first)
    automatic = _automatic(first)
    model = load_base(first)
    passes = _passes(jobs)
    with exact_arithmetic(model.device.type):
        by_base = {one: _encoded(model, records, one) for one in passes if one.autoencoder == "base"}  # before anything is attached
        with attached(model, first.folder("shake") if first.has("shake") else None):
            for number, (one, members) in enumerate(passes.items()):
                x0 = by_base[one] if one in by_base else _encoded(model, records, one)
                with _in_precision(model, one.precision):
                    _score(model, records, automatic, members, x0, share=(number / len(passes), 1 / len(passes)))


def _shared(job: StageJob) -> list[tuple[str, str]]:
    return [(role, key) for role, key, _ in job.parents if role in ScoreStage.shared]


def _attack(job: StageJob) -> AnyAttack:
    """The attack to run: the spec's, or what the choice that it waits for came to."""
    attack = cast(ScoreStage, job.spec).attack
    return chosen_attack(job.folder("choice")) if isinstance(attack, ChosenAttack) else attack


def _records(job: StageJob) -> list[ImageRecord]:
    records = read_images(job.folder("data") / "images.parquet")
    counts = [sum(record.member is value for record in records) for value in (True, False, None)]
    if counts[2] or not counts[0] or not counts[1]:
        raise InputError(
            f"an attack is measured on members and non-members; got {counts[0]} members, {counts[1]} non-members and {counts[2]} images of "
            "which that is not known; say `member: true` or `false` for every image of the data set"
        )
    return records


def _automatic(job: StageJob) -> AutomaticCaptions | None:
    return read_captions(job.folder("captions") / "captions.parquet") if job.has("captions") else None


def _passes(jobs: Sequence[StageJob]) -> dict[Pass, list[StageJob]]:
    passes: dict[Pass, list[StageJob]] = {}
    for job in jobs:
        spec = cast(ScoreStage, job.spec)
        passes.setdefault(Pass(spec.latents, spec.autoencoder, spec.precision), []).append(job)
    return passes


@contextmanager
def _in_precision(model: StableDiffusion, precision: str) -> Iterator[None]:
    import torch

    before = model.dtype
    if precision == "fp32":
        yield
        return
    model.to(dtype=torch.float64)
    try:
        yield
    finally:
        model.to(dtype=before)  # fp32 -> fp64 -> fp32 loses nothing


def _score(
    model: StableDiffusion,
    records: Sequence[ImageRecord],
    automatic: AutomaticCaptions | None,
    jobs: Sequence[StageJob],
    x0: Tensor,
    *,
    share: tuple[float, float],
) -> None:
    """One pass over the images, as latents x0 [n, c, h, w], with all attacks of the jobs."""
    from s2l_core.attacks.engine import run_attacks

    specs = {job.key: cast(ScoreStage, job.spec) for job in jobs}
    attacks = {job.key: _attack(job) for job in jobs}
    batch_size = min(BATCH_SIZE, jobs[0].micro_batch or BATCH_SIZE)
    texts = None if automatic is None else automatic.texts
    found = run_attacks(
        attacks,
        x0,
        [record.content for record in records],
        {key: prompts_for(records, spec.caption, spec.name, texts) for key, spec in specs.items()},
        Contexts(model),
        model.eps,
        model.alphas_cumprod,
        batch_size=batch_size,
        dtype=model.dtype,
        say=lambda done: jobs[0].say(share[0] + share[1] * done, f"{int(done * len(records))} of {len(records)} images attacked"),
    )
    for job in jobs:
        _write(job, attacks[job.key], records, automatic, found)
        job.made.update(batch_size=batch_size, network_calls=found.network_calls, attacks_together=len(jobs))


def _encoded(model: StableDiffusion, records: Sequence[ImageRecord], how: Pass) -> Tensor:
    """Latents [n, c, h, w] of the images, each encoded alone: they depend on the image, never on the batch it is in."""
    import torch

    with _in_precision(model, how.precision):
        return torch.cat(
            [model.encode_images(to_pixels([record], model.image_size), mode=how.latents, keys=[record.content]) for record in records]
        )


class Contexts:
    """Encoded prompts. Each is encoded alone and once, so that it does not depend on which others are asked for."""

    def __init__(self, model: StableDiffusion) -> None:
        self._model = model
        self._known: dict[str, torch.Tensor] = {}

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        import torch

        for prompt in prompts:
            if prompt not in self._known:
                self._known[prompt] = self._model.encode_text([prompt])[0]
        return torch.stack([self._known[prompt] for prompt in prompts])


class Scored(NamedTuple):
    """Scores of some of the images, and what belongs to their meaning beside the stage's spec."""

    records: Sequence[ImageRecord]
    scores: Tensor
    facts: dict[str, int]


def _scored(spec: AnyAttack, records: Sequence[ImageRecord], found: AttackRun, key: str) -> Scored:
    """All images' scores; of an attack that learns those of the images that its classifier was not trained on."""
    if not isinstance(spec, SecMINNsAttack):
        return Scored(records, found.scores[key], {})
    from s2l_core.attacks.calibration import learnt_scores

    learnt = learnt_scores(spec, found.readings[key], [record.content for record in records], [bool(record.member) for record in records])
    counts = {"calibration_members": learnt.members, "calibration_non_members": learnt.non_members}
    return Scored([records[row] for row in learnt.rows.tolist()], learnt.scores, counts)


def _write(job: StageJob, attack: AnyAttack, records: Sequence[ImageRecord], automatic: AutomaticCaptions | None, found: AttackRun) -> None:
    import numpy as np

    spec = cast(ScoreStage, job.spec)
    scored = _scored(attack, records, found, job.key)
    shown = spec.model_dump(mode="json", include={"caption", "latents", "autoencoder", "precision"})
    if isinstance(spec.caption, AutomaticCaption) and automatic is not None:
        shown["caption"]["captioner"] = automatic.captioner  # scores say themselves which captions they were made with
    scores = Scores(
        attack=attack.model_dump(mode="json"),
        domain=records[0].domain,
        image_ids=tuple(record.image_id for record in scored.records),
        member=np.array([bool(record.member) for record in scored.records]),
        score=scored.scores.numpy(),
        network_calls=found.calls[job.key],
        facts=shown | scored.facts,
    )
    write_scores(job.out / "scores.parquet", scores)
