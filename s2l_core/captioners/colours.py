"""An image in a few words by a fixed rule: `dark photo in blue, grey and brown`. Ours: no network, nothing learned, and weak.

Each pixel has one of the eleven colour words that all languages have a term for (Berlin and Kay, 1969), by its hue, saturation and value.
The words are named from the most frequent one down; ties go by the order of NAMES.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2l_core.images import ImageRecord, opened
from s2l_core.specs.captioners import ColoursCaptioner

NAMES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "grey", "white")
RED, ORANGE, BROWN, BLACK, GREY, WHITE = (NAMES.index(name) for name in ("red", "orange", "brown", "black", "grey", "white"))

HUES = (15, 45, 70, 165, 260, 300, 345)
"""Where, in degrees, red, orange, yellow, green, blue, purple and pink end; what is left is red again."""
DULL = 38
"""Less saturated than this, of 255 (15 %), a pixel is grey, or white where it is bright."""
NIGHT, DAY = 51, 204
"""Of 255: what is darker is black whatever its hue; what is as bright and dull is white (20 and 80 % of the value)."""
EARTH = 153
"""Of 255 (60 %): darker orange is brown."""

SIDE = 256
"""Larger images are looked at in this many columns and rows of their own pixels: shares of colours need no more, and none are blended."""


@dataclass(frozen=True)
class Colours:
    """Captions from brightness and colours."""

    spec: ColoursCaptioner

    def __call__(self, records: Sequence[ImageRecord]) -> list[str]:
        return [self._one(opened(record)) for record in records]

    def _one(self, image: Image.Image) -> str:
        width, height = image.size
        small = image.resize((min(width, SIDE), min(height, SIDE)), Image.Resampling.NEAREST)
        brightness = float(np.asarray(small.convert("L"), dtype=np.float64).mean())
        shares = np.bincount(named(np.asarray(small.convert("HSV"))).ravel(), minlength=len(NAMES)) / (small.width * small.height)
        order = np.argsort(-shares, kind="stable")[: self.spec.most]
        first, *more = [NAMES[index] for place, index in enumerate(order) if place == 0 or 0 < shares[index] >= self.spec.share]
        light = "dark " if brightness < self.spec.dark else "bright " if brightness >= self.spec.bright else ""
        return f"{light}photo in {', '.join([first, *more[:-1]])}{f' and {more[-1]}' if more else ''}"


def load(spec: ColoursCaptioner, *, folder: Path | None, device: str) -> Colours:
    """The captioner; it needs neither a folder nor a device."""
    return Colours(spec)


def named(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The place in NAMES of each pixel of an image in hue, saturation and value [h, w, 3], each of 0 to 255."""
    hue, saturation, value = (pixels[..., channel].astype(np.int64) for channel in range(3))
    name = np.searchsorted([edge * 256 / 360 for edge in HUES], hue, side="right")
    name = np.where(name == len(HUES), RED, name)
    name = np.where((name == ORANGE) & (value < EARTH), BROWN, name)
    name = np.where(saturation < DULL, np.where(value >= DAY, WHITE, GREY), name)
    return np.where(value < NIGHT, BLACK, name)
