"""A grid by the name that it was run under, where its file is not: as the store remembers it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import click

from jobs.errors import GridError, InputError

if TYPE_CHECKING:
    from jobs.ledger.registry import Registered
    from jobs.plan.plan import Plan
    from jobs.store.protocol import ObjectStore

_NAME = re.compile(r"[A-Za-z0-9-]+(?:@[0-9a-f]*)?")
_SHOWN = 5


def is_name(grid: str) -> bool:
    """Whether a grid may be called so (or `NAME@KEY`): only then a store is asked."""
    return bool(_NAME.fullmatch(grid))


def is_remembered(grid: str, store: ObjectStore) -> bool:
    """Whether a grid of that name was run with the store."""
    return bool(_of(grid, store))


def remembered_plan(grid: str, store: ObjectStore, *, only: bool = False) -> Plan:
    """The newest grid of that name, planned again; which one that is, and which others there are, goes to stderr.

    Args:
        grid: `NAME`, or `NAME@KEY` with the beginning of a key.
        only: refuse a name that several grids have: something would be computed for it.

    Raises:
        InputError: no or several grids begin so, or it cannot be planned any more.
    """
    from jobs.grid.registered import plan_registered
    from jobs.ledger.registry import named

    found = sorted(_of(grid, store), key=lambda one: one.modified)
    if "@" in grid or not found:
        found = named(found, grid)
    newest, others = found[-1], found[-2::-1]
    if others and only:
        raise InputError(f"{len(found)} grids called {grid} were run with this store: name one of {_listed(found[::-1])}, or a file")
    told = f"grid {grid}: no file, so taken as it was run with this store: {short(newest)} (first run {_when(newest)})"
    if others:
        told = f"{told}, the newest of {len(found)}; also there: {_listed(others)}"
    click.echo(f"s2l: {told}", err=True)
    return plan_registered(newest)


def tell_others(plan: Plan, grid: str, store: ObjectStore) -> None:
    """Where a shipped grid was not run as it ships, but others of its name were: which, on stderr."""
    others = sorted(_of(plan.grid, store), key=lambda one: -one.modified)
    if others and plan.grid_key not in {one.grid_key for one in others}:
        click.echo(f"s2l: {grid} as it ships was not run with this store; what was: {_listed(others)}", err=True)


def nothing_like_it(error: GridError, store: ObjectStore) -> GridError:
    """The error of a name that is neither a file nor shipped, with the names that the store knows."""
    from jobs.ledger.registry import names

    known = names(store)
    more = " ..." if len(known) > _SHOWN else ""
    return GridError(f"{error}; run with this store: {', '.join(known[:_SHOWN])}{more}") if known else error


def short(grid: Registered) -> str:
    return f"{grid.grid}@{grid.grid_key[:12]}"


def _of(grid: str, store: ObjectStore) -> list[Registered]:
    from jobs.ledger.registry import registered_grids

    return registered_grids(store, grid.partition("@")[0])


def _listed(grids: list[Registered]) -> str:
    words = [f"{short(one)} ({_when(one)})" for one in grids[:_SHOWN]]
    return ", ".join(words) + (f" and {len(grids) - _SHOWN} more" if len(grids) > _SHOWN else "")


def _when(grid: Registered) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(grid.modified)) + " UTC"
