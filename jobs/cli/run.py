"""`s2l run`: run what is missing, here or on a cluster."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import click

from jobs.cli.options import (
    Bytes,
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
from jobs.errors import EXIT_DONE, InputError
from jobs.stages.contract import CHECKPOINT_EVERY_S

if TYPE_CHECKING:
    from jobs.execute.limits import Limits
    from jobs.ledger.retention import Keep


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
    help="GPUs a process takes, such as 1 or 0.5. [default: where there are GPUs, by what each trial needs of their memory]",
)
@click.option(
    "--gpu-memory", type=Bytes(), metavar="SIZE", help="Memory of the smallest GPU, such as 24G. [default: the cluster's nodes are asked]"
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that a fine-tuning is shared by, on as many GPUs where there are any; the same results up to rounding.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu"]),
    default="auto",
    show_default=True,
    help="cpu: compute there also where there are GPUs; what --gpu-share or --gpu-memory ask for is then only set aside.",
)
@click.option(
    "--keep",
    type=click.Choice(["none", "small", "all"]),
    default="all",
    show_default=True,
    help="Weights to keep once measured: small drops dense ones, none drops all; they are made again when asked for.",
)
@click.option("--gradient-checkpointing", is_flag=True, help="Fine-tune in less memory and more time; no result changes.")
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=CHECKPOINT_EVERY_S,
    show_default=True,
    metavar="SECONDS",
    help="How often fine-tuning and the drawing of images keep a checkpoint: about what a kill costs at most (docs/failures.md).",
)
@click.option(
    "--max-gpus", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most so many GPUs in use by this run at a time."
)
@click.option(
    "--until",
    metavar="TIME",
    help="Begin nothing after this time, such as 06:00 or 2026-12-01T06:00; ten minutes later what still runs is stopped, resumable.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="HOURS",
    help="Begin nothing that would take this run beyond so many GPU hours (worker hours where there is no GPU).",
)
@click.option("--detach", is_flag=True, help="Hand the run to a Ray cluster and return; see s2l attach, s2l cancel.")
@click.option("--dashboard", metavar="URL", help="With --detach: the cluster's dashboard. [default: $RAY_API_SERVER_ADDRESS]")
@click.option(
    "--cluster-python",
    metavar="PATH",
    envvar="S2L_CLUSTER_PYTHON",
    default="python",
    help="With --detach: a Python that has s2l, on the cluster's nodes. [default: $S2L_CLUSTER_PYTHON, else python]",
)
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
    gpu_memory: int | None,
    processes: int,
    device: Literal["auto", "cpu"],
    keep: Keep,
    gradient_checkpointing: bool,
    checkpoint_every: float,
    max_gpus: float | None,
    until: str | None,
    budget: float | None,
    detach: bool,
    dashboard: str | None,
    cluster_python: str,
    no_tracking: bool,
    as_json: bool,
) -> int:
    """Run what GRID asks for and the store does not hold yet; what is done is reused.

    Ctrl-C (twice is fine) or kill -9 lose nothing that is committed: the same command goes on. Ctrl-C stops at once; `s2l cancel GRID`
    lets what runs end first. Trials that fail do not stop the rest; the exit code is then 3, and `s2l status GRID` says why. A run that
    ends early by --until, --budget or `s2l cancel` says what is left, with exit code 130.
    """
    from jobs.cli.detach import Destination, told
    from jobs.cli.detach import detach as hand_over
    from jobs.execute.options import RunOptions
    from jobs.given import refuse_stand_ins
    from jobs.runs.registry import Runs

    limits = _limits(max_gpus, until, budget)
    if local and processes > 1:
        raise InputError(f"--processes {processes} needs Ray, and --local does without it; leave one of them out")
    if detach and (local or address or workers):
        raise InputError("--detach runs on the cluster of --dashboard, on all its workers; leave --local, --address and --workers out")
    to = Destination.of(dashboard, cluster_python, tracking) if detach else None
    planned = load_plan(grid, sets, profile)
    refuse_stand_ins(planned)
    ledger, shown = open_ledger(store), asked_again(grid, profile, sets, store)
    cluster = address or os.environ.get("RAY_ADDRESS")
    options = RunOptions(
        store_url(store), workers, local, cluster, gpu_share, keep, gradient_checkpointing, limits, checkpoint_every_s=checkpoint_every
    )
    options = replace(options, gpu_memory=gpu_memory, processes=processes, device=device)
    ledger.save_grid(planned.registration())
    if to is not None:
        click.echo(told(hand_over(planned, ledger, options, to, no_tracking=no_tracking, shown=shown), shown, store, as_json))
        return EXIT_DONE
    from jobs.cli.driving import drive_run

    uri = None if no_tracking else tracking_uri(tracking)
    own = Runs(ledger.store).begin(planned.grid, planned.grid_key)
    return drive_run(planned, ledger, options, own, tracking=uri, shown=shown, as_json=as_json)


def _limits(max_gpus: float | None, until: str | None, budget: float | None) -> Limits:
    from datetime import datetime

    from jobs.execute.limits import Limits, parse_until

    moment = parse_until(until, datetime.now()).timestamp() if until is not None else None
    return Limits(max_gpus, moment, budget)
