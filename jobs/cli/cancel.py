"""`s2l cancel`: ask a run to end, wherever its driver is."""

from __future__ import annotations

import json
import time

import click

from jobs.cli.options import grid_argument, json_option, open_ledger, profile_option, store_option
from jobs.errors import InputError


@click.command(short_help="Ask a run to end, wherever its driver is.")
@grid_argument
@profile_option
@store_option
@click.option("--now", is_flag=True, help="Stop at once; what runs goes on from its last checkpoint another time.")
@click.option("--run", "run_id", metavar="RUN", help="The run that `s2l status GRID` names. [default: all that are at work on GRID]")
@json_option
def cancel(grid: str, profile: str | None, store: str | None, now: bool, run_id: str | None, as_json: bool) -> None:
    """Ask the runs of GRID to end: what runs may end, nothing new begins. They exit with 130, and running again does what is left.

    Works for every driver that uses the same store, on whatever machine; it sees the wish within seconds. Only runs that are at work now
    are asked: a later run of the grid is not.
    """
    from jobs.runs.registry import Runs
    from jobs.runs.shown import LIVE, one_of, runs_of

    ledger = open_ledger(store)
    runs, at = Runs(ledger.store), time.time()
    records = runs_of(ledger.store, grid, profile)
    live = [record for record in one_of(records, run_id, grid) if record.condition(at) in LIVE]
    if not live:
        last = f"; the last one, {records[-1].run}, is {_state(records[-1].condition(at))}" if records else ""
        raise InputError(f"no run of {grid} is at work with this store{last}; see s2l status {grid}")
    if run_id is None and len({record.grid_key for record in live}) > 1:
        raise InputError(f"different grids called {grid} are at work: name one with --run ({', '.join(record.run for record in live)})")
    for record in live:
        runs.ask(record, "stop" if now else "drain")
    if as_json:
        click.echo(json.dumps({"grid": live[0].grid, "asked": "stop" if now else "drain", "runs": [record.run for record in live]}))
        return
    for record in live:
        place = f" on {record.holder.host}" if record.holder else ""
        silent = f" (not heard of for {record.silent_for(at):.0f} s)" if record.condition(at) == "silent" else ""
        click.echo(f"asked run {record.run}{place}{silent} to {'stop now' if now else 'end: what runs may end, nothing new begins'}")
    click.echo(f"next: s2l attach {grid}     to see it end")


def _state(condition: str) -> str:
    return "lost: its driver is gone" if condition == "lost" else condition
