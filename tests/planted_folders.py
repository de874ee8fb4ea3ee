"""Imagefolders of drawn faces in which something is planted, and what a reader sees first of a report."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from s2l_core.images import ImageRecord, decode, encode_png

Change = Callable[[ImageRecord], ImageRecord]


def write_folder(folder: Path, records: Sequence[ImageRecord], *, change: Change = lambda record: record) -> Path:
    """An imagefolder with the images as they are after `change`.

    Args:
        change: what is done to each image and its caption; it keeps the side that a record is on.
    """
    folder.mkdir(parents=True)
    lines = []
    for record in map(change, records):
        (folder / record.image_id).write_bytes(record.image)
        row = {"file_name": record.image_id, "text": record.text, "domain": record.domain, "member": bool(record.member)}
        lines.append(json.dumps(row) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def saved(record: ImageRecord, kind: str, **settings: int) -> bytes:
    """The record's picture in a file of another kind."""
    buffer = io.BytesIO()
    Image.fromarray(decode(record.image)).save(buffer, format=kind, **settings)
    return buffer.getvalue()


def resaved(record: ImageRecord) -> ImageRecord:
    """The same picture in another file: what somebody has who found it on the web."""
    return replace(record, image=saved(record, "PNG", compress_level=1))


def jpeg_outside(record: ImageRecord) -> ImageRecord:
    """Non-members are JPEGs of low quality: another source than the members'."""
    return record if record.member else replace(record, image=saved(record, "JPEG", quality=20))


def brighter_inside(record: ImageRecord) -> ImageRecord:
    """Members are brighter, by an eighth of the range."""
    pixels = decode(record.image).astype(np.int64) + 32 * bool(record.member)
    return replace(record, image=encode_png(pixels.clip(0, 255).astype(np.uint8)))


def captioned_inside(record: ImageRecord) -> ImageRecord:
    """Members' captions say more."""
    return replace(record, text=f"{record.text} studio photo") if record.member else record


def first_screen(page: str) -> tuple[str, str, str]:
    """The headline, the text under it with the next steps, and the cards of the controls, of a report's HTML."""
    summary, controls = (
        _between(page, start, "</section>") for start in ('<section class="summary', '<section aria-labelledby="controls"')
    )
    return _text(_between(summary, "<h2", "</h2>")), _text(summary.split("</h2>")[1]), _text(controls)


def _between(page: str, start: str, end: str) -> str:
    return page[page.index(start) :].split(end)[0]


def _text(html: str) -> str:
    return re.sub(r"(<[^>]*>|\s)+", " ", f"<{html.split('<', 1)[1]}" if html.startswith("<") else html).strip()
