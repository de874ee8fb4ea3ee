"""The images of one domain, members and non-members, as every node will read them."""

from __future__ import annotations

from typing import cast

from jobs.errors import InputError
from jobs.grid.placeholders import how_to_give
from jobs.sources.imagefolder import scan
from jobs.stages.contract import StageJob
from jobs.stages.specs import DataStage, DrawnFaces, FolderImages, GivenImages
from s2l_core.images import ImageRecord, write_images


def run(job: StageJob) -> None:
    """Write the domain's images.

    Raises:
        InputError: the user's folder is not here, no longer holds what was planned, or was never named.
    """
    source = cast(DataStage, job.spec).source
    if isinstance(source, GivenImages):
        raise InputError(how_to_give(source))
    records = _drawn(source) if isinstance(source, DrawnFaces) else _from_folder(job, source)
    write_images(job.out / "images.parquet", records)
    job.say(1.0, f"{len(records)} images")


def _drawn(source: DrawnFaces) -> list[ImageRecord]:
    from s2l_core import faces

    return faces.records(source.identity, seed=source.seed, members=source.members, non_members=source.non_members)


def _from_folder(job: StageJob, source: FolderImages) -> list[ImageRecord]:
    folder = job.inputs.get(source.content)
    if folder is None:
        raise InputError(f"the images of {source.domain} are not here: plan the grid again on a machine that has their folder")
    found = scan(folder)
    if source.domain not in found.domains or found.content(source.domain) != source.content:
        raise InputError(
            f"the images of {source.domain} in {folder} changed since the grid was planned; plan it again to use them as they are now, "
            "or put the old ones back"
        )
    return found.records(source.domain)
