"""Private images for a page: read from the ledger by name, and small. Only for what was asked for with `--show-private`."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import Corrupt
from jobs.ledger.ledger import Ledger
from jobs.plan.graph import Node
from s2l_core.images import ImageRecord

MAX_SIDE = 160
"""Pixels; larger images are shown smaller, so that a page can be opened."""
_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


def data_uri(image: bytes) -> str | None:
    """The image as a data URI; None when it is of no kind that a page should show, or cannot be decoded."""
    from s2l_core.images import encode_png, open_image

    kind = next((kind for magic, kind in _MAGIC.items() if image.startswith(magic)), None)
    try:
        opened = open_image(image) if kind is not None else None
    except ValueError:
        return None
    if opened is None:
        return None
    if max(opened.size) > MAX_SIDE:
        import numpy as np

        opened.thumbnail((MAX_SIDE, MAX_SIDE))
        kind, image = "image/png", encode_png(np.asarray(opened))
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def records_of(ledger: Ledger, node: Node) -> Iterator[list[ImageRecord]]:
    """The images of a committed set, a file at a time; nothing, with a notice, from where it is not (or no longer) whole."""
    from s2l_core.images import read_images

    manifest = ledger.manifest(node.kind, node.key)
    names = sorted(payload.name for payload in manifest.payloads if payload.name.startswith("images")) if manifest is not None else []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            try:
                path.write_bytes(ledger.read(manifest, name))  # type: ignore[arg-type]
            except Corrupt as error:
                ledger.notice(str(error))
                return
            found = read_images(path)
        yield found


def named(ledger: Ledger, node: Node, wanted: set[str]) -> dict[str, ImageRecord]:
    """Id -> image, for those of the ids that the set has; files behind the last of them are not read."""
    found: dict[str, ImageRecord] = {}
    for records in records_of(ledger, node):
        found |= {record.image_id: record for record in records if record.image_id in wanted}
        if len(found) == len(wanted):
            break
    return found
