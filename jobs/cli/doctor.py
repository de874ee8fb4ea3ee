"""`s2l doctor`: what works here, what does not, and how to mend it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import click

from jobs.cli.options import json_option, open_ledger, store_option, store_url, tracking_option, tracking_uri
from jobs.errors import EXIT_DONE, EXIT_INPUT, EXIT_OUT_OF_REACH, S2LError


@dataclass(frozen=True)
class Check:
    """One finding; `mend` says what to do when the state is not ok."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    mend: str = ""


@click.command()
@store_option
@tracking_option
@json_option
def doctor(store: str | None, tracking: str | None, as_json: bool) -> int:
    """Check versions, CPU and GPU, store and tracking. Exit code 4 when store or tracking are out of reach, 2 when something else fails."""
    checks = [*_python(), *_packages(), *_compute(), *_models(), _store(store), _tracking(tracking), _space()]
    if as_json:
        click.echo(json.dumps({"checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            click.echo(f"{check.state:8} {check.name:12} {check.found}")
            if check.mend:
                click.echo(f"{'':21} -> {check.mend}")
    failed = {check.name for check in checks if check.state == "failed"}
    if failed & {"store", "tracking"}:
        return EXIT_OUT_OF_REACH
    return EXIT_INPUT if failed else EXIT_DONE


def _python() -> Iterator[Check]:
    right = sys.version_info[:2] == (3, 11)
    mend = "" if right else "S2L is tested on Python 3.11; make the virtual environment with python3.11"
    yield Check("python", "ok" if right else "warning", f"{platform.python_version()} at {sys.executable}", mend)


def _packages() -> Iterator[Check]:
    from packaging.requirements import Requirement

    wrong = []
    for requirement in (Requirement(line) for line in requires("s2l") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            have = version(requirement.name)
        except PackageNotFoundError:
            have = "missing"
        if have == "missing" or not requirement.specifier.contains(have, prereleases=True):
            wrong.append(f"{requirement.name} {have}, wanted {requirement.specifier}")
    if wrong:
        yield Check("packages", "failed", "; ".join(wrong), "make setup")
    else:
        yield Check("packages", "ok", f"s2l {version('s2l')}; all it needs is installed")


def _compute() -> Iterator[Check]:
    yield Check("cpu", "ok", f"{os.cpu_count()} cores, {len(os.sched_getaffinity(0))} usable, {_memory()} memory")
    import torch

    if not torch.cuda.is_available():
        yield Check("gpu", "ok", f"none (torch {torch.__version__}); runs on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        short = free < total / 2
        mend = "another process holds most of it; see nvidia-smi" if short else ""
        name = torch.cuda.get_device_name(index)
        yield Check(f"gpu {index}", "warning" if short else "ok", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free", mend)


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def _models() -> Iterator[Check]:
    from s2l_core import tiny

    for name in tiny.catalog():
        wanted, found = tiny.content(name), tiny.digest_of(tiny.packaged(name))
        if wanted == found:
            yield Check(f"{name} model", "ok", f"digest {found[:16]}")
        else:
            yield Check(f"{name} model", "failed", f"digest {found[:16]}, wanted {wanted[:16]}", "the package is damaged: install it again")


def _try(name: str, where: str, probe: Callable[[], str], mend: str) -> Check:
    try:
        return Check(name, "ok", f"{where}: {probe()}")
    except S2LError as error:
        return Check(name, "failed", f"{where}: {error}", mend)


def _store(store: str | None) -> Check:
    def probe() -> str:
        ledger = open_ledger(store)
        ledger.probe()
        return "can be listed and written, conditional puts work"

    return _try("store", store_url(store), probe, "check the folder's permissions, or the AWS variables and the bucket")


def _tracking(tracking: str | None) -> Check:
    from jobs.tracker.session import probe_tracking

    uri = tracking_uri(tracking)
    return _try(
        "tracking",
        uri,
        lambda: probe_tracking(uri),
        "start the MLflow server, or leave --tracking out for SQLite; `s2l sync` catches up",
    )


def _space() -> Check:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free / 2**30
    return Check(
        "disk", "ok" if free > 2 else "warning", f"{free:.1f} GiB free at {folder}", "" if free > 2 else "a run may stop for want of space"
    )
