"""The pre-trained model as a folder (or a safety checker, a CLIP or a captioner): the same bytes for every node."""

from __future__ import annotations

from typing import cast

from jobs.errors import InputError
from jobs.grid.placeholders import how_to_give
from jobs.sources.models import copy_folder, download
from jobs.stages.contract import StageJob
from jobs.stages.specs import BaseStage, Family, FolderModel, GivenModel, HubModel, PackagedModel


def run(job: StageJob) -> None:
    """Leave the model's files, and nothing else.

    Raises:
        InputError: the model is not here, is no longer what was planned, or was never named.
        OutOfReach: the hub does not answer.
    """
    spec = cast(BaseStage, job.spec)
    source = spec.source
    if isinstance(source, GivenModel):
        raise InputError(how_to_give(source))
    if isinstance(source, HubModel):
        job.say(0.0, f"downloading {source.repo}")
        download(source, job.out, spec.family)
    elif isinstance(source, PackagedModel):
        _packaged(job, source)
    else:
        _from_folder(job, source, spec.family)
    job.say(1.0, "copied")


def _packaged(job: StageJob, source: PackagedModel) -> None:
    from s2l_core import tiny

    copy_folder(tiny.packaged(source.name), job.out)
    if tiny.digest_of(job.out) != source.content:
        raise InputError(
            f"the packaged model {source.name!r} is not the one that was planned: another version of s2l is installed; plan again"
        )


def _from_folder(job: StageJob, source: FolderModel, family: Family) -> None:
    folder = job.inputs.get(source.content)
    if folder is None:
        raise InputError(f"the model {source.content[:12]} is not here: plan the grid again on a machine that has its folder")
    if copy_folder(folder, job.out, family) != source.content:
        raise InputError(
            f"the model in {folder} changed since the grid was planned; plan it again to use it as it is now, or put the old files back"
        )
