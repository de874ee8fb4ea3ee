"""What a grid's `data` and `model` stand for. Imports no torch: planning asks here.

`data` is `tiny-faces` (drawn faces: nobody is shown) or an image folder. `model` is a packaged model, a diffusers folder, or
`org/name@revision` on the hub. Reading a folder is the costly part: ask once per value.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from jobs.errors import InputError
from jobs.grid.messages import listed, nearest, show, unknown
from jobs.sources.imagefolder import ImageFolder, scan
from jobs.sources.models import ModelSource, resolve_model
from jobs.stages.specs import DrawnFaces, FolderImages, PublicFolder

DRAWN = "tiny-faces"
DataSource = DrawnFaces | FolderImages


def data_domains(value: str) -> list[str]:
    """The domains of a data set, sorted.

    Raises:
        InputError: there is no such data set, or it cannot be used.
    """
    if value == DRAWN:
        from s2l_core.faces import IDENTITIES

        return sorted(IDENTITIES)
    return image_folder(value).domains


def resolve_data(value: str, domain: str) -> tuple[DataSource, dict[str, Path]]:
    """One domain of a data set: its source, and the local folder by content hash when it is the user's own.

    Raises:
        InputError: there is no such data set or domain, or it cannot be used; the message says what is allowed.
    """
    if domain not in data_domains(value):
        raise InputError(unknown(f"domain of {value}", domain, data_domains(value)))
    if value == DRAWN:
        return DrawnFaces(identity=domain), {}
    found = image_folder(value)
    content = found.content(domain)
    return FolderImages(domain=domain, content=content), {content: found.folder}


def resolve_public(value: str) -> tuple[PublicFolder, ImageFolder]:
    """All images of a folder of public images.

    Raises:
        InputError: there is no such folder, or it cannot be used.
    """
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise InputError(f"there is no folder of public images {show(value)}; give an imagefolder, or `strangers`: drawn faces of nobody")
    found = scan(folder.resolve(), two_sided=False)
    return PublicFolder(content=found.public_content()), found


def image_folder(value: str) -> ImageFolder:
    """The checked folder of a data set that is the user's own; read again only when its table changed.

    Raises:
        InputError: there is no such folder, or it cannot be used.
    """
    folder = Path(value).expanduser()
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        raise InputError(
            f"unknown data {show(value)}; allowed: {listed([DRAWN])}, or a folder of images{nearest(folder.name, [DRAWN, *beside])}"
        )
    folder = folder.resolve()
    stamps = [path.stat() for path in sorted(folder.glob("metadata.*"))]
    return _scanned(folder, tuple((stamp.st_mtime_ns, stamp.st_size) for stamp in stamps))


@lru_cache(maxsize=8)
def _scanned(folder: Path, stamps: tuple[tuple[int, int], ...]) -> ImageFolder:
    return scan(folder)


__all__ = [
    "DRAWN",
    "DataSource",
    "ModelSource",
    "data_domains",
    "image_folder",
    "resolve_data",
    "resolve_model",
    "resolve_public",
]
