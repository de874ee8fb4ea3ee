"""The images of one domain, members and non-members, or public ones, as every node will read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from jobs.errors import InputError
from jobs.grid.placeholders import how_to_give
from jobs.sources.imagefolder import ImageFolder, Unusable, scan
from jobs.stages.contract import StageJob
from jobs.stages.specs import DataStage, DrawnFaces, DrawnStrangers, FolderImages, GivenImages, PublicFolder
from s2l_core.images import ImageRecord, write_images


def run(job: StageJob) -> None:
    """Write the images.

    Raises:
        InputError: the user's folder is not here, cannot be used, no longer holds what was planned, or was never named. The message
            names no file: it goes wherever failures are shown.
    """
    source = cast(DataStage, job.spec).source
    if isinstance(source, GivenImages):
        raise InputError(how_to_give(source))
    records = _from_folder(job, source) if isinstance(source, FolderImages | PublicFolder) else _drawn(source)
    write_images(job.out / "images.parquet", records)
    job.say(1.0, f"{len(records)} images")


def _drawn(source: DrawnFaces | DrawnStrangers) -> list[ImageRecord]:
    from s2l_core import faces

    if isinstance(source, DrawnStrangers):
        return faces.stranger_records(seed=source.seed, images=source.images)
    return faces.records(source.identity, seed=source.seed, members=source.members, non_members=source.non_members)


def _from_folder(job: StageJob, source: FolderImages | PublicFolder) -> list[ImageRecord]:
    folder = job.inputs.get(source.content)
    told = "the public images" if isinstance(source, PublicFolder) else f"the images of {source.domain}"
    if folder is None:
        raise InputError(f"{told} are not here: plan the grid again on a machine that has their folder")
    with _naming_no_file(folder, told):
        found = scan(folder, two_sided=isinstance(source, FolderImages))
    if _content(found, source) != source.content:
        raise InputError(
            f"{told} in {folder} changed since the grid was planned; plan it again to use them as they are now, or put the old ones back"
        )
    with _naming_no_file(folder, told):
        return found.public_records() if isinstance(source, PublicFolder) else found.records(source.domain)


@contextmanager
def _naming_no_file(folder: Path, told: str) -> Iterator[None]:
    """What is wrong with the folder, without the names of its files."""
    try:
        yield
    except Unusable as error:
        raise InputError(f"{told} in {folder}: {error.nameless}") from None
    except InputError:  # of the table as a whole, with what lies beside it
        raise InputError(f"{told} in {folder} cannot be used any more; `s2l data check {folder}` says why") from None


def _content(found: ImageFolder, source: FolderImages | PublicFolder) -> str | None:
    """The content that the folder holds now; None where the domain is gone."""
    if isinstance(source, PublicFolder):
        return found.public_content()
    return found.content(source.domain) if source.domain in found.domains else None
