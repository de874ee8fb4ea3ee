"""Painting shapes on a small supersampled canvas. Only +, -, *, / on the pixels, so that the bytes are the same on every CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2l_core.faces.looks import Colour

Plane = NDArray[np.float64]
Mask = NDArray[np.bool_]

SIZE = 32
SUPERSAMPLING = 3


class Canvas:
    """A square picture over [-1, 1] x [-1, 1], y down, painted back to front."""

    def __init__(self) -> None:
        side = SIZE * SUPERSAMPLING
        axis = (np.arange(side, dtype=np.float64) + 0.5) * (2.0 / side) - 1.0
        self.x: Plane = np.broadcast_to(axis[None, :], (side, side))
        self.y: Plane = np.broadcast_to(axis[:, None], (side, side))
        self.pixels: NDArray[np.float64] = np.zeros((side, side, 3))

    def gradient(self, first: Colour, second: Colour, slope: tuple[float, float]) -> None:
        """Fill everything with a linear blend of two colours along `slope`."""
        blend = np.clip(0.5 + 0.5 * (slope[0] * self.x + slope[1] * self.y), 0.0, 1.0)[:, :, None]
        self.pixels[:] = np.array(first) * (1.0 - blend) + np.array(second) * blend

    def paint(self, mask: Mask, colour: Colour) -> None:
        self.pixels[mask] = colour

    def shade(self, direction: tuple[float, float], brightness: float) -> None:
        """Light from one side: multiply by a plane over the picture."""
        self.pixels *= (brightness * (1.0 + direction[0] * self.x + direction[1] * self.y))[:, :, None]

    def picture(self) -> NDArray[np.uint8]:
        """The averaged picture, uint8 [32, 32, 3]."""
        total: NDArray[Any] = np.zeros((SIZE, SIZE, 3))
        for row in range(SUPERSAMPLING):
            for column in range(SUPERSAMPLING):
                total = total + self.pixels[row::SUPERSAMPLING, column::SUPERSAMPLING]
        mean = np.clip(total / float(SUPERSAMPLING * SUPERSAMPLING), 0.0, 1.0)
        return np.asarray(np.floor(mean * 255.0 + 0.5), dtype=np.uint8)


class Frame:
    """The head's own coordinates: the face's centre is (0, 0), its half height is 1."""

    def __init__(self, canvas: Canvas, x: float, y: float, scale: float, roll: float) -> None:
        cosine, sine = math.cos(roll), math.sin(roll)
        across, down = canvas.x - x, canvas.y - y
        self.x: Plane = (cosine * across + sine * down) / scale
        self.y: Plane = (cosine * down - sine * across) / scale

    def ellipse(self, x: float, y: float, half_width: float, half_height: float) -> Mask:
        across, down = (self.x - x) / half_width, (self.y - y) / half_height
        return np.asarray(across * across + down * down <= 1.0)

    def box(self, x: float, y: float, half_width: float, half_height: float) -> Mask:
        return np.asarray((abs(self.x - x) <= half_width) & (abs(self.y - y) <= half_height))

    def arc(self, x: float, y: float, half_width: float, bend: float, thickness: float) -> Mask:
        """A stroke along a parabola through (x, y), whose ends lie `bend` higher than its middle."""
        across = (self.x - x) / half_width
        curve = y - bend * across * across
        return np.asarray((abs(across) <= 1.0) & (abs(self.y - curve) <= thickness))
