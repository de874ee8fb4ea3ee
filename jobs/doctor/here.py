"""This machine, its store and its tracking: what `s2l doctor` looks at first."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from jobs.doctor.check import Check, attempt, free_space
from jobs.store.protocol import ObjectStore

STORE_MEND = "check the folder's permissions, or the AWS variables and the bucket"


def machine() -> Iterator[Check]:
    """Python, packages, CPU and GPU, the packaged models, the disk."""
    yield from (_python(), _packages())
    yield from _compute()
    yield from _models()
    folder = Path.cwd()
    yield free_space(shutil.disk_usage(folder).free / 2**30, str(folder))


def store(opened: ObjectStore) -> Check:
    """Whether the store can be listed and written, and does everything that the ledger relies on."""
    from jobs.store.probe import examine

    def tried() -> str:
        examine(opened)
        return "can be listed and written; conditional puts and deletes, files in parts and copies work"

    return attempt("store", opened.url, tried, STORE_MEND)


def tracking(uri: str) -> Check:
    """Whether MLflow answers."""
    from jobs.tracker.location import shown
    from jobs.tracker.session import probe_tracking

    mend = (
        "start the MLflow server, check MLFLOW_TRACKING_USERNAME and _PASSWORD, or leave --tracking out for SQLite; `s2l sync` catches up"
    )
    return attempt("tracking", shown(uri), lambda: probe_tracking(uri), mend)


def _python() -> Check:
    right = sys.version_info[:2] == (3, 11)
    mend = "" if right else "S2L is tested on Python 3.11; make the virtual environment with python3.11"
    return Check("python", "ok" if right else "warning", f"{platform.python_version()} at {sys.executable}", mend)


def _packages() -> Check:
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
        return Check("packages", "failed", "; ".join(wrong), "make setup")
    return Check("packages", "ok", f"s2l {version('s2l')}; all it needs is installed")


def _compute() -> Iterator[Check]:
    yield Check("cpu", "ok", f"{os.cpu_count()} cores, {len(os.sched_getaffinity(0))} usable, {_memory()} memory")
    import torch

    if not torch.cuda.is_available():
        yield Check("gpu", "ok", f"none (torch {torch.__version__}); runs on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        yield gpu(f"gpu {index}", torch.cuda.get_device_name(index), free / 2**30, total / 2**30)


def gpu(name: str, model: str, free_gib: float, total_gib: float, node: str = "") -> Check:
    """Whether most of a GPU's memory is free."""
    short = free_gib < total_gib / 2
    mend = "another process holds most of it; see nvidia-smi" if short else ""
    return Check(name, "warning" if short else "ok", f"{model}, {free_gib:.1f} of {total_gib:.1f} GiB free", mend, node)


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
