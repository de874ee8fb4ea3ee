"""Domains on which attacks are chosen: no trial of the grid attacks them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jobs.errors import GridError
from jobs.grid.choose import ChooseAttack
from jobs.grid.model import POSITION, Grid, Named
from jobs.grid.points import Rows

_ATTACKS, _ATTACKED = POSITION["attacks"], (POSITION["domain"], POSITION["attack_domain"])


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
