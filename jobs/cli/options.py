"""Options that several commands share, and what their values open."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobs.errors import GridError, InputError

if TYPE_CHECKING:
    from jobs.ledger.ledger import Ledger
    from jobs.plan.plan import Plan

F = TypeVar("F", bound=Callable[..., Any])

DATA_FOLDER = "s2l-data"


class Bytes(click.ParamType):  # type: ignore[type-arg]
    """A size such as `24G`, `512M` or a plain number of bytes; the letters stand for powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
        size = int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ")) if found else 0
        if size < 1:
            self.fail(f"{value!r} is not a size; give a number with K, M, G or T, such as 24G", param, ctx)
        return size


def grid_argument(function: F) -> F:
    return click.argument("grid", metavar="GRID")(function)


def set_option(function: F) -> F:
    return click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="AXIS=VALUES",
        help="Replace an axis or a fixed value: --set seed=0,1. Repeatable.",
    )(function)


def profile_option(function: F) -> F:
    return click.option(
        "--profile", metavar="NAME", help="One of the grid's sizes, such as tiny or published. [default: the first that the grid has]"
    )(function)


def store_option(function: F) -> F:
    return click.option("--store", metavar="URL", help="A folder or s3://bucket/prefix. [default: $S2L_STORE, else ./s2l-data/store]")(
        function
    )


def tracking_option(function: F) -> F:
    return click.option(
        "--tracking", metavar="URI", help="An MLflow tracking URI. [default: $MLFLOW_TRACKING_URI, else SQLite in ./s2l-data/mlflow.db]"
    )(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")(function)


def store_url(store: str | None) -> str:
    """The store's URL, absolute when it is a folder (workers may start elsewhere)."""
    url = store or os.environ.get("S2L_STORE") or f"{DATA_FOLDER}/store"
    return url if "://" in url else str(Path(url).expanduser().absolute())


def tracking_uri(tracking: str | None) -> str:
    found = tracking or os.environ.get("MLFLOW_TRACKING_URI")
    return found or f"sqlite:///{Path(DATA_FOLDER).absolute() / 'mlflow.db'}"


def open_ledger(store: str | None, *, look_only: bool = False) -> Ledger:
    from jobs.ledger.ledger import Ledger
    from jobs.store.open import open_store

    return Ledger(open_store(store_url(store)), notice=lambda text: click.echo(f"s2l: {text}", err=True), look_only=look_only)


def load_plan(
    grid: str, sets: tuple[str, ...], profile: str | None, store: str | None = None, *, only: bool = False, look: bool = False
) -> Plan:
    """The plan of a grid: of a file, a shipped one, or one that was run with the store. Its notices go to stderr.

    Args:
        only: refuse a name that several grids in the store have.
        look: of what was run: where that is another grid of the name, it is told.
    """
    from jobs.cli.snapshots import is_name, is_remembered, nothing_like_it, remembered_plan, tell_others
    from jobs.grid.load import SHIPPED, find_grid
    from jobs.grid.read import read_grid
    from jobs.plan.expand import expand

    try:
        shipped = find_grid(grid).parent == SHIPPED
    except GridError as error:
        if not is_name(grid):
            raise
        objects = open_ledger(store, look_only=True).store
        if not is_remembered(grid, objects):
            raise nothing_like_it(error, objects) from None
        if sets or profile:
            told = "is a grid as it was run, with its profile and values; leave --profile and --set out (of a diff's other grid: --set-b)"
            raise InputError(f"{grid} {told}") from None
        return remembered_plan(grid, objects, only=only)
    plan = expand(read_grid(grid, sets, profile))
    if look and shipped and not sets and not profile:
        tell_others(plan, grid, open_ledger(store, look_only=True).store)
    for notice in plan.notices:
        click.echo(f"s2l: {notice}", err=True)
    return plan


def asked_again(grid: str, profile: str | None, sets: Iterable[str] = (), store: str | None = None) -> str:
    """The grid as it is given to another command, with what this one was given: else that would look at another grid, or another store."""
    words = [grid, *(["--profile", profile] if profile else []), *(word for one in sets for word in ("--set", one))]
    return shlex.join([*words, *(["--store", store] if store else [])])
