"""Grid files: read, checked and turned into points. Nothing here imports torch or knows of stages."""

from __future__ import annotations

from jobs.grid.model import Grid, Point
from jobs.grid.read import read_grid

__all__ = ["Grid", "Point", "read_grid"]
