"""Domains on which attacks are chosen: no trial of the grid attacks them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jobs.errors import GridError
from jobs.grid.choose import ChooseAttack
from jobs.grid.inputs import Inputs
from jobs.grid.model import POSITION, Grid, Named
from jobs.grid.points import Rows

_DATA, _ATTACKS, _ATTACKED = POSITION["data"], POSITION["attacks"], (POSITION["domain"], POSITION["attack_domain"])


def calibration_domains(grid: Grid) -> dict[str, set[str]]:
    """Domain -> the attacks that are chosen on it, of all attacks that the grid names anywhere."""
    found: dict[str, set[str]] = {}
    for name, choice in _choices(_named(grid)):
        for domain in choice.on:
            found.setdefault(domain, set()).add(name)
    return found


def check_calibration(grid: Grid, rows: Rows) -> None:
    """Raise a GridError where an attack is chosen on a domain that a point of the grid is about."""
    lists = {id(row[_ATTACKS]): row[_ATTACKS] for row, _ in rows.rows}.values()
    chosen = [(named, name, domain) for named in lists for name, choice in _choices([named]) for domain in choice.on]
    if not chosen:
        return
    attacked = {row[position] for row, _ in rows.rows for position in _ATTACKED}
    for named, name, domain in chosen:
        if domain in attacked:
            told = f"the attack {name} is chosen on {domain}, a domain of this grid: chosen on reported images, it looks better than it is"
            raise GridError(f"{grid.place_of('attacks', named)}: {told}; choose on other domains, or take this one out of the grid")


def check_calibration_images(grid: Grid, rows: Rows, inputs: Inputs) -> None:
    """Raise a GridError where an image of a calibration domain is an image of an attacked one too, under whatever name.

    Images that name no domain are non-members of all of them: they would have a say in the choice, and then be reported.

    Args:
        inputs: must know the domains of all rows.
    """
    choosing = {(row[_DATA], id(row[_ATTACKS])): row for row, _ in rows.rows if any(True for _ in _choices([row[_ATTACKS]]))}
    if not choosing:
        return
    attacked = {(row[_DATA], domain) for row, _ in rows.rows for position in _ATTACKED if (domain := row[position]) is not None}
    reported = frozenset[str]().union(*(inputs.domain(*one).files for one in attacked))
    for (data, _), row in choosing.items():
        for name, choice in _choices([row[_ATTACKS]]):
            for domain in choice.on:
                _check_images(grid, row[_ATTACKS], name, domain, len(inputs.domain(data, domain).files & reported))


def _check_images(grid: Grid, named: Named, name: str, domain: str, shared: int) -> None:
    if shared:
        told = f"the attack {name} is chosen on {domain}, and {shared} of its images are images of domains that the grid attacks, too"
        remedy = "give calibration domains images of their own (an image that names no domain is a non-member of all of them)"
        raise GridError(f"{grid.place_of('attacks', named)}: {told}: chosen on reported images, it looks better than it is; {remedy}")


def _choices(lists: Iterable[Named]) -> Iterator[tuple[str, ChooseAttack]]:
    for named in lists:
        for name, attack in named.value.items():
            if isinstance(attack, ChooseAttack):
                yield name, attack


def _named(grid: Grid) -> Iterator[Named]:
    """Every list of attacks in the grid."""
    if "attacks" in grid.fixed:
        yield grid.fixed["attacks"]
    for section in (grid.axes, *grid.zips, *grid.include):
        yield from section.get("attacks", ())
    for settings in grid.by_method.values():
        if "attacks" in settings:
            yield settings["attacks"]
