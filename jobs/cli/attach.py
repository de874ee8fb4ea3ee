"""`s2l attach`: follow a run that goes on elsewhere."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import click

from jobs.cli.options import grid_argument, json_option, open_ledger, profile_option, store_option
from jobs.cli.streams import is_unread
from jobs.errors import EXIT_DONE, EXIT_INTERRUPTED, InputError, OutOfReach

if TYPE_CHECKING:
    from jobs.runs.record import RunRecord


@click.command(short_help="Follow a run to its end, wherever its driver is.")
@grid_argument
@profile_option
@store_option
@click.option("--run", "run_id", metavar="RUN", help="The run that `s2l status GRID` names. [default: the newest]")
@click.option("--dashboard", metavar="URL", help="Where the job server is from here. [default: where the run was submitted]")
@json_option
def attach(grid: str, profile: str | None, store: str | None, run_id: str | None, dashboard: str | None, as_json: bool) -> int:
    """Follow a run of GRID, detached or not: its lines on stderr until it ends, then its answer. The exit code is the run's own.

    Ctrl-C ends the looking, with exit code 130; the run goes on. A run that has ended already is told again.
    """
    from jobs.runs.follow import follow
    from jobs.runs.registry import Runs
    from jobs.runs.shown import LIVE, one_of, runs_of

    ledger = open_ledger(store, look_only=True)
    runs, at = Runs(ledger.store), time.time()
    records = one_of(runs_of(ledger.store, grid, profile), run_id, grid)
    if not records:
        raise InputError(f"no run of {grid} is known to this store; begin one: s2l run {grid}")
    record = next((found for found in reversed(records) if found.condition(at) in LIVE), records[-1])
    click.echo(f"s2l: run {record.run} of {record.grid}{_standing(record, at)}", err=True)
    try:
        last, dead = follow(runs, record, _say, job_ended=lambda found: _job_ended(found, dashboard))
    except BrokenPipeError:
        return EXIT_DONE  # `2>&1 | head` has read enough
    except KeyboardInterrupt:
        click.echo(f"s2l: left; run {record.run} goes on. To end it: s2l cancel {grid}", err=True)
        return EXIT_INTERRUPTED
    if dead is not None:
        if last.state == "submitted":
            raise OutOfReach(f"run {last.run} never began: {dead}")
        click.echo(f"s2l: run {last.run} did not end in order: {dead}\nnothing committed is lost; s2l run {grid} goes on", err=True)
        return EXIT_INTERRUPTED
    if as_json:
        click.echo(json.dumps(last.answer or {"grid": last.grid, "exit_code": last.exit_code, "words": last.words}))
    elif last.answer is not None:
        click.echo(last.words)
    else:
        click.echo(f"s2l: {last.words}", err=True)
    return last.exit_code or 0


def _standing(record: RunRecord, at: float) -> str:
    """What a person may expect of a run."""
    match record.condition(at):
        case "ended":
            ended = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(record.beat_at))
            return f" ended with exit code {record.exit_code} at {ended} UTC; its last lines and its answer:"
        case "lost":
            return ": its driver is gone; its last lines:"
        case _:
            return "; Ctrl-C leaves it running"


def _say(line: str) -> None:
    click.echo(line, err=True)
    if is_unread(sys.stderr):
        raise BrokenPipeError


def _job_ended(record: RunRecord, dashboard: str | None) -> str | None:
    from cluster.ray_jobs import ended

    address = dashboard or record.dashboard
    if not address or not record.job:
        return None
    try:
        return ended(address, record.job)
    except ConnectionError:
        return None  # the record in the store tells the rest
