"""Settings that a grid gives for one method: they take the place of fixed values and defaults, never of an axis or an `include` point."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from jobs.grid.model import POSITION, Grid, label

_METHOD = POSITION["method"]


def settle(grid: Grid, row: list[Any], given: Collection[str]) -> None:
    """Put the settings of the row's method in; `given` fields stay as they are."""
    for name, value in grid.by_method.get(label(row[_METHOD]), {}).items():
        if name not in given:
            row[POSITION[name]] = value
