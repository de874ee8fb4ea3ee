"""`s2l doctor`: what works here and on the nodes of a cluster, what does not, and how to mend it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.options import json_option, store_option, store_url, tracking_option, tracking_uri
from jobs.errors import EXIT_DONE, EXIT_INPUT, EXIT_OUT_OF_REACH, S2LError
from jobs.secrets import scrub

if TYPE_CHECKING:
    from jobs.doctor.check import Check

REACHED = {"store", "tracking", "ray", "job server", "node"}
"""What is out of reach when one of these failed; anything else that failed is for the user to change."""


@click.command(short_help="What works here and on a cluster, and how to mend the rest.")
@store_option
@tracking_option
@click.option("--address", metavar="HOST:PORT", help="Look at every node of this Ray cluster too. [default: $RAY_ADDRESS, else none]")
@json_option
def doctor(store: str | None, tracking: str | None, address: str | None, as_json: bool) -> int:
    """Check versions, CPU and GPU, store and tracking, and the same from a worker on every node of a cluster.

    A worker's own view: which versions it has, whether it can use the store and sees what this machine writes there, whether it reaches
    MLflow, its clock, its GPUs' free memory, its disk. Exit code 4 when store, tracking, cluster or a node are out of reach, 2 when
    something else fails.
    """
    from jobs.doctor import here, job_server, nodes
    from jobs.doctor.check import Check
    from jobs.store.open import open_store

    url, uri = store_url(store), tracking_uri(tracking)
    checks = list(here.machine())
    opened = None
    try:
        opened = open_store(url)
        checks.append(here.store(opened))
    except S2LError as error:
        checks.append(Check("store", "failed", f"{url}: {error}", here.STORE_MEND))
    checks.append(here.tracking(uri))
    if jobs := os.environ.get("RAY_API_SERVER_ADDRESS"):
        checks += job_server.checks(jobs)
    if ray := address or os.environ.get("RAY_ADDRESS"):
        temp = Path(tempfile.mkdtemp(prefix="s2l-doctor-"))
        try:
            checks += nodes.on_every_node(ray, opened, url, uri, temp)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
    checks = [replace(check, found=scrub(check.found)) for check in checks]  # what others' errors say may hold addresses and tokens
    if as_json:
        click.echo(json.dumps({"checks": [asdict(check) for check in checks]}))
    else:
        _print(checks)
    failed = {check.name for check in checks if check.state == "failed"}
    if failed & REACHED:
        return EXIT_OUT_OF_REACH
    return EXIT_INPUT if failed else EXIT_DONE


def _print(checks: list[Check]) -> None:
    node = ""
    for check in checks:
        if check.node != node:
            node = check.node
            click.echo(f"\non node {node}" if node else "\non this machine")
        click.echo(f"{check.state:8} {check.name:12} {check.found}")
        if check.mend:
            click.echo(f"{'':21} -> {check.mend}")
