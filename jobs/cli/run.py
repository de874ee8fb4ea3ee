"""`s2l run`: run what is missing."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from jobs.cli.options import (
    asked_again,
    grid_argument,
    json_option,
    load_plan,
    open_ledger,
    profile_option,
    set_option,
    store_option,
    store_url,
    tracking_option,
    tracking_uri,
)
from jobs.errors import EXIT_DONE, EXIT_TRIALS_FAILED

if TYPE_CHECKING:
    from jobs.execute.run import RunResult
    from jobs.ledger.retention import Keep
    from jobs.plan import Plan


@click.command()
@grid_argument
@profile_option
@set_option
@store_option
@tracking_option
@click.option("--workers", type=click.IntRange(min=1), help="Trials at a time on this machine. [default: one a core]")
@click.option("--local", is_flag=True, help="In this process, one after the other, without Ray: a debugger works.")
@click.option("--address", metavar="HOST:PORT", help="Run on this Ray cluster. [default: $RAY_ADDRESS, else a private Ray on this machine]")
@click.option(
    "--gpu-share",
    type=click.FloatRange(min=0),
    default=None,
    help="GPUs a trial takes, such as 1 or 0.5. [default: 1 where there are GPUs, else 0]",
)
@click.option(
    "--keep",
    type=click.Choice(["none", "small", "all"]),
    default="all",
    show_default=True,
    help="Weights to keep once measured: small drops dense ones, none drops all; they are made again when asked for.",
)
@click.option("--gradient-checkpointing", is_flag=True, help="Fine-tune in less memory and more time; no result changes.")
@click.option("--no-tracking", is_flag=True, help="Do not mirror to MLflow now; `s2l sync` can do it later.")
@json_option
def run(
    grid: str,
    profile: str | None,
    sets: tuple[str, ...],
    store: str | None,
    tracking: str | None,
    workers: int | None,
    local: bool,
    address: str | None,
    gpu_share: float | None,
    keep: Keep,
    gradient_checkpointing: bool,
    no_tracking: bool,
    as_json: bool,
) -> int:
    """Run what GRID asks for and the store does not hold yet; what is done is reused.

    Ctrl-C (twice is fine) or kill -9 lose nothing that is committed: the same command goes on. Trials that fail do not stop the rest;
    the exit code is then 3, and `s2l status GRID` says why.
    """
    from jobs.cli.artifacts import grid_artifacts, trial_artifacts
    from jobs.execute.options import RunOptions
    from jobs.execute.progress import Terminal
    from jobs.execute.run import run_plan
    from jobs.given import refuse_stand_ins
    from jobs.tracker.session import mirrored

    planned = load_plan(grid, sets, profile)
    refuse_stand_ins(planned)
    ledger = open_ledger(store)
    ledger.save_grid({"grid": planned.grid, "grid_key": planned.grid_key, "axes": planned.axes, "document": planned.document})
    cluster = address or os.environ.get("RAY_ADDRESS")
    options = RunOptions(store_url(store), workers, local, cluster, gpu_share, keep, gradient_checkpointing)
    reporter = Terminal(planned.grid)
    try:
        uri = None if no_tracking else tracking_uri(tracking)
        plots, pages = trial_artifacts(), grid_artifacts(planned, ledger)
        with mirrored(planned, ledger, uri, reporter.note, artifacts=plots, grid_artifacts=pages) as on_trial:
            result = run_plan(planned, ledger, options, reporter, on_trial)
    finally:
        reporter.close()
    _answer(planned, result, asked_again(grid, profile), as_json)
    whole = result.counts()["done"] == len(result.states) and not result.failed  # a pooled stage belongs to no trial
    return EXIT_DONE if whole else EXIT_TRIALS_FAILED


def _answer(plan: Plan, result: RunResult, grid: str, as_json: bool) -> None:
    counts = result.counts()
    if as_json:
        stages = {"ran": len(result.ran), "reused": result.reused, "failed": len(result.failed)}
        click.echo(json.dumps({"grid": plan.grid, "trials": counts, "stages": stages, "seconds": round(result.seconds, 3)}))
        return
    if not result.ran and not result.failed:
        click.echo(f"{plan.grid}: nothing to run, all {counts['done']} trials are done")
    else:
        trials = ", ".join(f"{number} {state}" for state, number in counts.items())
        failed = f", {len(result.failed)} failed" if result.failed else ""
        click.echo(f"{plan.grid}: trials: {trials}; ran {len(result.ran)} stages, reused {result.reused}{failed}")
    bad = counts["failed"] or counts["blocked"]
    click.echo(f"next: s2l status {grid}" if bad else f"next: s2l results {grid}; s2l report {grid} -o report.html")
