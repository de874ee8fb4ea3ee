"""`s2l run`: run what is missing, here or on a cluster."""

from __future__ import annotations

import click

from jobs.cli.how import How, how_options
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
)
from jobs.errors import EXIT_DONE, InputError


@click.command(short_help="Run what is missing; Ctrl-C is safe, running again goes on.")
@grid_argument
@profile_option
@set_option
@store_option
@how_options
@click.option("--detach", is_flag=True, help="Hand the run to a Ray cluster and return; see s2l attach, s2l cancel.")
@click.option("--dashboard", metavar="URL", help="With --detach: the cluster's dashboard. [default: $RAY_API_SERVER_ADDRESS]")
@click.option(
    "--cluster-python",
    metavar="PATH",
    envvar="S2L_CLUSTER_PYTHON",
    default="python",
    help="With --detach: a Python that has s2l, on the cluster's nodes. [default: $S2L_CLUSTER_PYTHON, else python]",
)
@json_option
def run(
    grid: str,
    profile: str | None,
    sets: tuple[str, ...],
    store: str | None,
    detach: bool,
    dashboard: str | None,
    cluster_python: str,
    how: How,
    as_json: bool,
) -> int:
    """Run what GRID asks for and the store does not hold yet; what is done is reused.

    Ctrl-C (twice is fine) or kill -9 lose nothing that is committed: the same command goes on. Ctrl-C stops at once; `s2l cancel GRID`
    lets what runs end first. Trials that fail do not stop the rest; the exit code is then 3, and `s2l status GRID` says why. A run that
    ends early by --until, --budget or `s2l cancel` says what is left, with exit code 130.
    """
    from jobs.cli.detach import Destination, told
    from jobs.cli.detach import detach as hand_over
    from jobs.plan.given import refuse_stand_ins
    from jobs.runs.registry import Runs

    options = how.options(store_url(store))
    if detach and (how.local or how.address or how.workers):
        raise InputError("--detach runs on the cluster of --dashboard, on all its workers; leave --local, --address and --workers out")
    to = Destination.of(dashboard, cluster_python, how.tracking) if detach else None
    planned = load_plan(grid, sets, profile, store, only=True)
    refuse_stand_ins(planned)
    ledger, shown = open_ledger(store), asked_again(grid, profile, sets, store)
    ledger.save_grid(planned.registration())
    if to is not None:
        click.echo(told(hand_over(planned, ledger, options, to, no_tracking=how.no_tracking, shown=shown), shown, store, as_json))
        return EXIT_DONE
    from jobs.cli.driving import drive_run

    own = Runs(ledger.store).begin(planned.grid, planned.grid_key, keep=options.keep)
    return drive_run(planned, ledger, options, own, tracking=how.mirror(), shown=shown, as_json=as_json)
