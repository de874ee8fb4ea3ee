"""How near a drawn set is to members and to non-members, and whom it shows. What is left holds numbers, no image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from jobs.errors import InputError
from jobs.stages.contract import StageJob
from jobs.stages.rejected import REMEDY, drawn_images, rejected_count
from jobs.stages.specs import FidelityStage
from s2l_core.images import ImageRecord, read_images

if TYPE_CHECKING:
    from s2l_core.features import Extractor
    from s2l_core.fidelity import Judge

FILE = "fidelity.json"


def run(job: StageJob) -> None:
    """Leaves fidelity.json.

    Raises:
        InputError: the data set has fewer than two members or non-members, or the safety checker left fewer than two drawn images.
    """
    from s2l_core.features import load
    from s2l_core.fidelity import change, fidelity

    spec = cast(FidelityStage, job.spec).fidelity
    data = read_images(job.folder("data") / "images.parquet")
    members, non_members = ([record for record in data if record.member is value] for value in (True, False))
    if min(len(members), len(non_members)) < 2:
        raise InputError(
            f"fidelity is measured beside members and non-members, two of each; got {len(members)} members and {len(non_members)} "
            "non-members; say `member: true` or `false` for every image of the data set"
        )
    drawn = drawn_images(job, least=2, what="fidelity")
    extractor = load(spec.features, folder=job.folder("features") if job.has("features") else None, device=job.device)
    judge = _judge(job, extractor)
    job.say(0.5, "measuring")
    document = fidelity(drawn, members, non_members, extractor, spec, judge=judge, name=data[0].domain)
    document["n_rejected"] = rejected_count(job)
    if job.has("before"):
        before = json.loads((job.folder("before") / FILE).read_text(encoding="utf-8"))
        _check_pairs(before, document)
        document["change"] = change(before, document, spec)
    (job.out / FILE).write_text(json.dumps(document, sort_keys=True, allow_nan=False), encoding="utf-8")


def _check_pairs(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Without an image that both sets have there is no change to tell: the safety checker may have left each others."""
    told = [f"{one['n_rejected']} of {one['n_rejected'] + one['n_drawn']}" for one in (before, after) if one["n_rejected"]]
    if told and not set(before["images"]["id"]) & set(after["images"]["id"]):
        raise InputError(f"the safety checker rejected {' and '.join(told)} drawn images: no image is left before and after; {REMEDY}")


def _judge(job: StageJob, extractor: Extractor) -> Judge | None:
    """The judge of the `others`, fitted on their non-members: images that the model was not trained on. Kept warm by the worker.

    Domains with fewer than two non-members cannot be learned and are left out.
    """
    from s2l_core.fidelity.identity import judge_of

    spec = cast(FidelityStage, job.spec).fidelity
    others = sorted((key, folder) for role, key, folder in job.parents if role == "others")
    if not others:
        return None

    def fit() -> Judge | None:
        job.say(0.0, f"learning to tell {len(others)} identities apart")
        sets: dict[str, list[ImageRecord]] = {}
        for _, folder in others:
            records = [record for record in read_images(folder / "images.parquet") if record.member is False]
            if len(records) >= 2:
                sets[records[0].domain] = records
        return judge_of(sets, extractor, folds=spec.folds, seed=spec.seed) if len(sets) > 1 else None

    features: list[Any] = [key for role, key, _ in job.parents if role == "features"]
    name = json.dumps([spec.model_dump(mode="json"), features, [key for key, _ in others], job.device])
    return job.cache.get(f"judge {name}", fit)
