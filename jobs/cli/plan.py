"""`s2l plan` and `s2l grids`: what a grid asks for. No torch is imported here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.options import asked_again, grid_argument, json_option, load_plan, open_ledger, profile_option, set_option, store_option
from jobs.cli.terminal import labelled

if TYPE_CHECKING:
    from jobs.plan.plan import Plan
    from jobs.plan.shake_bytes import StoredBytes

MANY_VALUES, SHOWN_VALUES = 16, 6
"""Of an axis with more values than the one only the other are shown."""


@click.command(short_help="What GRID asks for, and what of it is done.")
@grid_argument
@profile_option
@set_option
@store_option
@json_option
@click.option("--power", is_flag=True, help="Also: the least change the grid can find, and whether tests over domains can reject.")
def plan(grid: str, profile: str | None, sets: tuple[str, ...], store: str | None, as_json: bool, power: bool) -> None:
    """What GRID asks for: trials, distinct stages by kind, how many are done, how many would run.

    GRID is the path of a YAML file, a shipped name (see `s2l grids`), or the name of a grid that was run with the store; where several of
    one name were, the newest, or NAME@KEY. Nothing is run or written.
    """
    from jobs.plan.demand import count
    from jobs.plan.shake_bytes import stored_bytes

    planned, ledger = load_plan(grid, sets, profile, store), open_ledger(store, look_only=True)
    stages, weights = count(planned, ledger), stored_bytes(planned, ledger)
    seen = _seen(planned) if power else None
    if as_json:
        answer = {"grid": planned.grid, "trials": len(planned.trials), "axes": planned.axes, "stages": stages, "grid_key": planned.grid_key}
        answer["bytes"] = asdict(weights)
        click.echo(json.dumps(answer | ({"power": seen} if seen else {})))
        return
    click.echo(f"{planned.grid}: {len(planned.trials)} trials")
    for axis, values in planned.axes.items():
        click.echo(labelled(axis, _listed(values)))
    click.echo(f"\n{'stage':12} {'distinct':>9} {'done':>9} {'to run':>9}")
    for kind, row in stages.items():
        click.echo(f"{kind:12} {row['distinct']:9} {row['done']:9} {row['to_run']:9}")
    if weights.shakes:
        click.echo(f"\n{_told(weights)}")
    if seen:
        from dashboards.power import text

        click.echo(f"\n{text(seen)}")
    left = sum(row["to_run"] for row in stages.values())
    click.echo(f"\nnext: s2l run {asked_again(grid, profile, sets, store)}" if left else "\nnothing to run: see s2l results, s2l report")


def _listed(values: Sequence[Any]) -> str:
    """The values of an axis; of very many the first few, and how many more."""
    words = [str(value) for value in values]
    if len(words) <= MANY_VALUES:
        return ", ".join(words)
    return f"{', '.join(words[:SHOWN_VALUES])}, and {len(words) - SHOWN_VALUES} more ({len(words)})"


def _told(weights: StoredBytes) -> str:
    """What the weights of all shakes take under each policy."""
    from jobs.cli.amounts import bytes_text

    policies = (f"{name} {bytes_text(size)}" for name, size in (("none", weights.none), ("small", weights.small), ("all", weights.all)))
    unknown = f"; {weights.unknown} more of unknown size: their base model is not here yet" if weights.unknown else ""
    told = f"weights of {weights.shakes - weights.unknown} shakes, by run --keep: {', '.join(policies)}{unknown}"
    return told if weights.unknown < weights.shakes else f"weights of {weights.shakes} shakes: unknown, their base model is not here yet"


def _seen(planned: Plan) -> dict[str, Any]:
    """What the design can see."""
    from dashboards.power import power
    from jobs.plan.sizes import sizes_of

    return power(planned, sizes_of(planned))


@click.command(short_help="The grids that ship with S2L, and their profiles.")
@json_option
def grids(as_json: bool) -> None:
    """The grids that ship with S2L, with their first line of description, and the profiles that `--profile` takes."""
    from jobs.grid.load import shipped, shipped_profiles

    found = shipped()
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, profiles in shipped_profiles().items():
        click.echo(f"{name:16} {found[name]}" + (f" [--profile {', '.join(profiles)}]" if profiles else ""))
