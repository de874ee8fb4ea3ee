"""Images with their captions: one record, one Parquet file, one way to pixels. Imports torch only where pixels are made."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from s2l_core.plain_parquet import read_plain

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 64_000_000
"""Images that claim to be larger are refused before they are decoded."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
"""What is read; PPM stands for PGM and PBM too. Pillow knows more, some of which start other programs."""

SHARD_IMAGES = 1024
SHARD_BYTES = 2**27
"""A set of more images, or of more bytes of encoded images, is written as several files."""


@dataclass(frozen=True)
class ImageRecord:
    """One image and what is known about it.

    Attributes:
        image_id: a name that says nothing about where the image came from.
        image: the encoded bytes, PNG or JPEG.
        member: whether the base model was trained on it; None when that makes no sense (a synthetic image).
        provenance: how it came to be, as JSON.
    """

    image_id: str
    image: bytes
    text: str
    domain: str
    member: bool | None
    provenance: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def content(self) -> str:
        """The sha256 of the encoded image. It tells who has the image whether it is in a set: keep it private."""
        return hashlib.sha256(self.image).hexdigest()


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of uint8 pixels [h, w, 3] or [h, w]; equal pixels give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def decode(image: bytes) -> NDArray[np.uint8]:
    """The pixels of an encoded image, uint8 [h, w, 3]: upright, transparency on white.

    Raises:
        ValueError: it cannot be decoded, or claims to be larger than `MAX_PIXELS`.
    """
    return np.asarray(open_image(image))


def open_image(image: bytes) -> Image.Image:
    """The decoded RGB image, upright, transparency on white.

    Raises:
        ValueError: it cannot be decoded, or claims to be larger than `MAX_PIXELS`.
    """
    return _rgb(_upright(_opened(image)))


def to_png(image: bytes, *, keep: Sequence[str]) -> bytes:
    """The encoded image itself if its format is one of `keep`, else a PNG of the same pixels (upright where PNG cannot hold the mode).

    Raises:
        ValueError: it cannot be decoded, or claims to be larger than `MAX_PIXELS`.
    """
    opened = _opened(image)
    if opened.format in keep:
        return image
    plain = opened if opened.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else _rgb(_upright(opened))
    buffer = io.BytesIO()
    plain.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def peek(image: bytes) -> Image.Image:
    """The image with its format and size known and its pixels not yet decoded.

    Raises:
        ValueError: it is no image of `FORMATS`, or claims to be larger than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit follows
            opened = Image.open(io.BytesIO(image), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(f"no image in a known format; allowed: {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"far too large; allowed: at most {MAX_PIXELS:,} pixels") from error
    except (OSError, SyntaxError) as error:
        raise ValueError(f"not a readable image: {error}") from error
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"too large: {width} x {height} pixels; allowed: at most {MAX_PIXELS:,} pixels")
    return opened


def _opened(image: bytes) -> Image.Image:
    opened = peek(image)
    try:
        opened.load()
    except (OSError, SyntaxError) as error:
        raise ValueError(f"not a readable image: {error}") from error
    return opened


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, struct.error) as error:
        raise ValueError(f"its EXIF data cannot be read: {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers; save the image with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow would clip them at 255
        wide = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.round(wide / 257.0).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image.convert("RGB")


def to_pixels(records: Sequence[ImageRecord], size: int) -> Tensor:
    """The records' pixels, float32 [n, 3, size, size] in [-1, 1]; centre-cropped to a square and resized where needed.

    Raises:
        ValueError: a record's image cannot be decoded; the message names it.
    """
    return as_pixels(square_pixels(records, size))


def as_pixels(images: NDArray[np.uint8]) -> Tensor:
    """Images uint8 [n, H, W, 3] as float32 [n, 3, H, W] in [-1, 1]."""
    import torch

    return torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32).contiguous() / 127.5 - 1.0


def square_pixels(records: Sequence[ImageRecord], size: int) -> NDArray[np.uint8]:
    """The records' pixels, uint8 [n, size, size, 3]; centre-cropped to a square and resized where needed.

    Raises:
        ValueError: a record's image cannot be decoded; the message names it.
    """
    pixels = np.empty((len(records), size, size, 3), dtype=np.uint8)
    for row, record in enumerate(records):
        pixels[row] = np.asarray(_square(opened(record), size))
    return pixels


def opened(record: ImageRecord) -> Image.Image:
    """The record's image as `open_image` gives it.

    Raises:
        ValueError: it cannot be decoded; the message names it.
    """
    try:
        return open_image(record.image)
    except ValueError as error:
        raise ValueError(f"image {record.image_id}: {error}") from error


def _square(image: Image.Image, size: int) -> Image.Image:
    return image if image.size == (size, size) else ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS)


def to_uint8(pixels: Tensor) -> NDArray[np.uint8]:
    """Pixels in [-1, 1] as uint8 [n, h, w, 3], rounded as diffusers rounds them."""
    scaled = (pixels.detach().float().cpu() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return (scaled * 255).round().astype(np.uint8)


_FEATURES = {
    "image_id": {"dtype": "string", "_type": "Value"},
    "image": {"_type": "Image"},
    "text": {"dtype": "string", "_type": "Value"},
    "domain": {"dtype": "string", "_type": "Value"},
    "member": {"dtype": "bool", "_type": "Value"},
    "provenance": {"dtype": "string", "_type": "Value"},
}


def write_images(path: Path, records: Sequence[ImageRecord]) -> None:
    """Write the records as Parquet in the `datasets` library's image convention; equal records give equal bytes.

    A set beyond SHARD_IMAGES or SHARD_BYTES becomes `<stem>-00000.parquet`, `<stem>-00001.parquet`, ... in place of `path`. A longer set
    starts with the whole shards of a shorter one.
    """
    shards = list(_shards(records))
    if len(shards) == 1:
        _write_file(path, shards[0])
        return
    for number, shard in enumerate(shards):
        _write_file(_shard_path(path, number), shard)


def read_images(path: Path) -> list[ImageRecord]:
    """The records that `write_images` wrote, in their order, from one file or from its shards.

    Raises:
        FileNotFoundError: there is neither the file nor a first shard, or a shard between others is missing.
    """
    return [record for file in image_files(path) for record in _read_file(file)]


def image_files(path: Path) -> list[Path]:
    """The file itself, or its shards in order.

    Raises:
        FileNotFoundError: there is neither, or a shard between others is missing.
    """
    if path.exists():
        return [path]
    found = sorted(path.parent.glob(f"{path.stem}-[0-9][0-9][0-9][0-9][0-9]{path.suffix}"))
    for number in range(max(1, len(found))):
        if _shard_path(path, number) not in found:
            raise FileNotFoundError(f"there is neither {path} nor {_shard_path(path, number).name} beside it")
    return found


def _shard_path(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number:05d}{path.suffix}")


def _shards(records: Sequence[ImageRecord]) -> Iterator[Sequence[ImageRecord]]:
    """The records cut wherever one more would go beyond a limit; at least one part, and no part without an image but that of no images."""
    start, size = 0, 0
    for stop, record in enumerate(records):
        size += len(record.image)
        if stop - start == SHARD_IMAGES or (stop > start and size > SHARD_BYTES):
            yield records[start:stop]
            start, size = stop, len(record.image)
    yield records[start:]


def _write_file(path: Path, records: Sequence[ImageRecord]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    text = pa.string()
    fields = [("image_id", text), ("image", image), ("text", text), ("domain", text), ("member", pa.bool_()), ("provenance", text)]
    schema = pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}}, sort_keys=True)})
    columns = {
        "image_id": [record.image_id for record in records],
        "image": [{"bytes": record.image, "path": None} for record in records],
        "text": [record.text for record in records],
        "domain": [record.domain for record in records],
        "member": [record.member for record in records],
        "provenance": [json.dumps(record.provenance, sort_keys=True, allow_nan=False) for record in records],
    }
    table = pa.Table.from_pydict(columns, schema=schema)
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=1024)


def _read_file(path: Path) -> list[ImageRecord]:
    rows = read_plain(path).to_pylist()
    return [
        ImageRecord(row["image_id"], row["image"]["bytes"], row["text"], row["domain"], row["member"], json.loads(row["provenance"]))
        for row in rows
    ]
