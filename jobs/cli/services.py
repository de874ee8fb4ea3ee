"""`s2l up` and `s2l down`: the real services on this machine, started and stopped."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from jobs.cli.options import DATA_FOLDER, json_option
from jobs.errors import InputError, OutOfReach

F = TypeVar("F", bound=Callable[..., Any])
PARTS = ("s3", "mlflow", "ray")
PORTS = ("s3", "mlflow", "postgres", "ray", "dashboard")


def folder_option(function: F) -> F:
    return click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(DATA_FOLDER, "services"),
        show_default=True,
        help="Where their data, logs and credentials lie.",
    )(function)


def port_options(function: F) -> F:
    for name in reversed(PORTS):
        words = "[default: a free one, and that one from then on]"
        function = click.option(f"--{name}-port", type=click.IntRange(1024, 65535), metavar="PORT", help=words)(function)
    return function


@click.command(short_help="Start an S3 store, MLflow and Ray on this machine.")
@folder_option
@click.option("--without", type=click.Choice(PARTS), multiple=True, help="Leave this one out. Repeatable.")
@click.option("--postgres", is_flag=True, help="MLflow on PostgreSQL (from the system's packages) instead of SQLite: for many writers.")
@click.option("--auth", is_flag=True, help="MLflow asks for a user and a password; it always does beyond loopback.")
@click.option(
    "--host", metavar="ADDRESS", help="Listen at this address of this machine, for other machines to reach. [default: loopback only]"
)
@port_options
@json_option
def up(
    folder: Path,
    without: tuple[str, ...],
    postgres: bool,
    auth: bool,
    host: str | None,
    s3_port: int | None,
    mlflow_port: int | None,
    postgres_port: int | None,
    ray_port: int | None,
    dashboard_port: int | None,
    as_json: bool,
) -> None:
    """Start an S3 store (SeaweedFS), MLflow and a Ray head on this machine, and wait until they are healthy.

    Safe to repeat: what runs stays as it is, what died is started again with its data. What was made for them (credentials, ports,
    --postgres, --auth, --host) stays in the folder and holds for later starts. Then:

    \b
      source s2l-data/services/env    what you need to use them; keep it private
      s2l run quickstart              runs on that Ray, stores and mirrors there
      s2l doctor                      checks them, from the workers' side too

    `env.readonly` beside `env` is for those who may look: the store's key in it cannot write.
    """
    from cluster.services import together

    ports = dict(zip(PORTS, (s3_port, mlflow_port, postgres_port, ray_port, dashboard_port), strict=True))
    chosen = {name: port for name, port in ports.items() if port is not None}
    parts = tuple(name for name in PARTS if name not in without)
    with _translated():
        services = together.up(folder, together.Wanted(parts, host, auth, postgres, chosen), _say)
    if as_json:
        files = {"env": str(folder.absolute() / "env"), "env_readonly": str(folder.absolute() / "env.readonly")}
        click.echo(json.dumps({"folder": str(folder.absolute()), **files, "services": [asdict(service) for service in services]}))
        return
    for service in services:
        click.echo(f"{service.name:9} {service.state:10} {service.address}")
    click.echo(f"next: source {shlex.quote(str(folder / 'env'))}; s2l run quickstart")


@click.command(short_help="Stop what `s2l up` started; its data stay.")
@folder_option
@json_option
def down(folder: Path, as_json: bool) -> None:
    """Stop what `s2l up` started in the folder, and nothing else. The data, the ports and the credentials stay for the next start."""
    from cluster.services import together

    with _translated():
        found = together.down(folder, _say)
    stopped = [name for name, ran in found if ran]
    if as_json:
        idle = [name for name, ran in found if not ran]
        click.echo(json.dumps({"folder": str(folder.absolute()), "stopped": stopped, "not_running": idle}))
    else:
        click.echo(f"stopped {', '.join(stopped)}" if stopped else f"nothing that was started in {folder} is running")


def _say(text: str) -> None:
    click.echo(f"s2l: {text}", err=True)


@contextmanager
def _translated() -> Iterator[None]:
    """What the user must change is bad input; what does not come up is out of reach."""
    from cluster.services.ports import PortTakenError

    try:
        yield
    except (ValueError, PermissionError, PortTakenError) as error:
        raise InputError(str(error)) from error
    except (RuntimeError, FileNotFoundError) as error:
        raise OutOfReach(str(error)) from error
