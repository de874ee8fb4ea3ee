"""`s2l run --detach`, and the command that its job executes on the cluster."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from jobs.cli.options import asked_again, open_ledger, store_option, store_url
from jobs.errors import InputError, NotFound, OutOfReach, S2LError
from jobs.tracker.location import bare

if TYPE_CHECKING:
    from jobs.execute.options import RunOptions
    from jobs.ledger.ledger import Ledger
    from jobs.plan.plan import Plan

SERVER = "RAY_API_SERVER_ADDRESS"


@dataclass(frozen=True)
class Destination:
    """A cluster, as a run is handed to it.

    Attributes:
        address: of its dashboard.
        python: how its nodes call a Python that has s2l.
        tracking: the MLflow URI that goes along; None: what its nodes' environment says.
    """

    address: str
    python: str
    tracking: str | None

    @classmethod
    def of(cls, dashboard: str | None, python: str, tracking: str | None) -> Destination:
        """The destination that options and environment name.

        Raises:
            InputError: they name none, or hold a password.
        """
        return cls(_dashboard(dashboard), python, _tracking(tracking))


def detach(plan: Plan, ledger: Ledger, options: RunOptions, to: Destination, *, no_tracking: bool, shown: str) -> dict[str, str]:
    """Hand the run to a Ray cluster; gives its names. What only this machine can read is committed first."""
    from cluster.ray_jobs import submit
    from jobs.execute.inputs import commit_inputs
    from jobs.execute.progress import Terminal
    from jobs.grid.read import grid_of
    from jobs.grid.recorded import RecordingInputs
    from jobs.plan.expand import expand
    from jobs.runs.order import RunOrder, portable
    from jobs.runs.registry import Runs

    recording = RecordingInputs()
    expand(grid_of(plan.document, f"grid {shown}"), inputs=recording)
    order = RunOrder(
        grid_key=plan.grid_key,
        document=plan.document,
        inputs=recording.record,
        shown=shown,
        tracking=to.tracking,
        no_tracking=no_tracking,
        options=portable(options),
    )
    order.plan()  # what the cluster will do: better told now than there
    reporter = Terminal(plan.grid)
    try:
        commit_inputs(plan, ledger, options, reporter)
    finally:
        reporter.close()
    runs = Runs(ledger.store)
    own = runs.submit(plan.grid, plan.grid_key, {"order": order.model_dump_json(indent=1).encode()}, to.address, keep=options.keep)
    job = own.record.job or own.record.run
    run = f"{plan.grid}/{own.record.run}"
    command = f"exec {shlex.quote(to.python)} -m jobs.cli drive {shlex.quote(run)} --store {shlex.quote(options.store)}"
    try:
        submit(to.address, command, job)
    except ConnectionError as error:
        own.end(OutOfReach.exit_code, None, f"was not taken by the cluster: {error}")
        raise OutOfReach(
            f"the job server at {to.address} did not take the run: {error}; is that the address of the cluster's dashboard, "
            "and is its token in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token, with RAY_AUTH_MODE=token?"
        ) from error
    return {"grid": plan.grid, "run": own.record.run, "job": job, "dashboard": to.address}


def told(names: dict[str, str], shown: str, store: str | None, as_json: bool) -> str:
    """What a person types next."""
    if as_json:
        return json.dumps(names)
    run = asked_again(names["grid"], None, store=store)
    return (
        f"submitted {names['job']} to {names['dashboard']}; this machine is not needed any more\n"
        f"next: s2l attach {run}     follow it; Ctrl-C leaves it running\n"
        f"      s2l cancel {run}     let what runs end, begin nothing new; --now stops at once\n"
        f"      s2l status {shown}     who runs it, and what is done"
    )


def _dashboard(given: str | None) -> str:
    address = given or os.environ.get(SERVER) or ""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        got = f"got {address!r}; " if address else ""
        raise InputError(f"--detach needs a cluster: {got}give --dashboard http://HOST:8265 (of the head node), or set {SERVER}")
    if bare(address) != address:
        raise InputError("--dashboard: no password belongs into an address; Ray's token goes into RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH")
    return address.rstrip("/")


def _tracking(given: str | None) -> str | None:
    """The MLflow URI that goes along: one that was given, or this machine's when it is a server's; else the cluster's nodes have one."""
    uri = given or os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None or (given is None and urlsplit(uri).scheme not in ("http", "https")):
        return None
    if bare(uri) != uri:
        raise InputError(
            "the tracking URI holds a password, which is not sent to the cluster; give the URI without it, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment of the cluster's nodes"
        )
    return uri


@click.command(hidden=True)
@click.argument("run", metavar="GRID/RUN")
@store_option
def drive(run: str, store: str | None) -> int:
    """Run what `s2l run --detach` left in the store under GRID/RUN. The cluster calls this; people call `s2l run`."""
    from pydantic import ValidationError

    from jobs.cli.driving import drive_run
    from jobs.runs.order import RunOrder
    from jobs.runs.registry import Runs

    ledger = open_ledger(store)
    grid, _, name = run.partition("/")
    runs = Runs(ledger.store)
    try:
        order = RunOrder.model_validate_json(runs.read(grid, name, "order"))
        own = runs.take_over(grid, name)
    except NotFound:
        raise InputError(
            f"the store {store_url(store)} holds no submitted run {run} here; a folder must be shared by laptop and cluster, "
            "and s3:// needs the same endpoint and rights"
        ) from None
    except ValidationError:
        raise InputError(
            f"the submitted run {run} cannot be read: install the same version of s2l on the cluster, then submit again"
        ) from None
    try:
        plan = order.plan()
    except S2LError as error:
        own.end(error.exit_code, None, str(error))  # those who attach are told
        raise
    options = order.run_options(store_url(store), os.environ.get("RAY_ADDRESS"))
    tracking = None if order.no_tracking else order.tracking or os.environ.get("MLFLOW_TRACKING_URI")
    return drive_run(plan, ledger, options, own, tracking=tracking, shown=order.shown, as_json=False)
