"""The word `all` under `domain` or `attack_domain`: every domain of the data set but those on which the grid's attacks are chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jobs.errors import GridError, InputError
from jobs.grid.calibration import calibration_domains
from jobs.grid.inputs import Inputs
from jobs.grid.messages import listed
from jobs.grid.model import Grid, Point

ALL = "all"
_FIELDS = ("domain", "attack_domain")


def spell_out(grid: Grid, inputs: Inputs) -> Grid:
    """The grid with `[all]` replaced by the domains of its data set.

    Raises:
        GridError: the word stands where one value does, beside others, or without one data set to ask.
    """
    for name in _FIELDS:
        if grid.fixed.get(name) == ALL:
            raise GridError(f"{grid.place('fixed', name)}: {ALL} is every domain of the data set; write {name}: [{ALL}] under axes")
        if any(ALL in group.get(name, ()) for group in grid.zips):
            raise GridError(f"{grid.place_of(name, ALL)}: {ALL} cannot move together with others; write {name}: [{ALL}] under axes")
    if not _asked(grid):
        return grid
    return replace(grid, axes=_spelled(grid, grid.axes, inputs), include=tuple(_spelled(grid, point, inputs) for point in grid.include))


def _asked(grid: Grid) -> bool:
    return any(ALL in section.get(name, ()) for section in (grid.axes, *grid.include) for name in _FIELDS)


def _spelled(grid: Grid, section: dict[str, tuple[Any, ...]], inputs: Inputs) -> dict[str, tuple[Any, ...]]:
    return {name: _everyone(grid, name, inputs) if name in _FIELDS and ALL in values else values for name, values in section.items()}


def _everyone(grid: Grid, name: str, inputs: Inputs) -> tuple[str, ...]:
    where = grid.place_of(name, ALL)
    if any(len(section.get(name, ())) > 1 and ALL in section[name] for section in (grid.axes, *grid.include)):
        raise GridError(f"{where}: {ALL} is every domain of the data set already; leave the others out")
    sections = (grid.axes, *grid.zips, *grid.include, *grid.by_method.values())
    if any("data" in section for section in sections):
        raise GridError(f"{where}: {ALL} asks for the domains of one data set, and this grid has several; name the domains")
    data = str(grid.fixed.get("data", Point.model_fields["data"].default))
    try:
        domains = sorted(inputs.domains(data))
    except InputError as error:
        raise GridError(f"{grid.place_of('data', data)}: {error}") from None
    calibrating = calibration_domains(grid)
    left = tuple(domain for domain in domains if domain not in calibrating)
    if not left:
        raise GridError(f"{where}: attacks are chosen on every domain of {data}, so that none is left to attack; choose on fewer")
    return left


def left_out(grid: Grid) -> list[str]:
    """What to tell of a grid, as it was before `spell_out`, whose `all` is not every domain."""
    calibrating = calibration_domains(grid)
    if not calibrating or not _asked(grid):
        return []
    return [
        f"`{ALL}` is without {listed(sorted(calibrating))}, on which {listed(sorted(set().union(*calibrating.values())))} will be chosen"
    ]
