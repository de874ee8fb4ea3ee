"""Stages that misbehave on command: a trigger is a file in a folder, and the first stage of its kinds that starts takes it.

Runs in the workers; the folder is named by `S2L_CHAOS_TRIGGERS`. What a trigger does is done to the real stage: real NaNs in the model's
weights, a real limit on the process's memory, a real hang.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from jobs.stages.contract import StageJob

FOLDER = "S2L_CHAOS_TRIGGERS"
Run = Callable[[StageJob], None]


def misbehaving(real: ModuleType) -> tuple[Run, Callable[[Sequence[StageJob]], None]]:
    """The module's `run` and `run_fused`, each of which looks for a trigger first."""

    def run(job: StageJob) -> None:
        with _trouble(job):
            real.run(job)

    def run_fused(jobs: Sequence[StageJob]) -> None:
        with _trouble(jobs[0]):
            real.run_fused(jobs)

    return run, run_fused


def pull(folder: Path, what: str, kinds: Sequence[str], number: int, **more: Any) -> Path:
    """Leave a trigger; returns the file that shows, once it is there, that a stage has taken it."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{what}-{number}"
    beside.write_text(json.dumps({"what": what, "kinds": list(kinds), **more}))
    beside.rename(folder / f"{what}-{number}.json")
    return folder / f"{what}-{number}.taken"


@contextlib.contextmanager
def _trouble(job: StageJob) -> Iterator[None]:
    found = _take(job)
    with TROUBLES[found["what"]](job, found) if found else contextlib.nullcontext():
        yield


def _take(job: StageJob) -> dict[str, Any] | None:
    """The trigger for this stage: one that poisons it for good, or the first that nobody has taken."""
    folder = Path(os.environ.get(FOLDER, "/nonexistent"))
    poisoned = folder / f"poisoned-{job.key}"
    if poisoned.exists():
        return dict(json.loads(poisoned.read_text()))
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(FileNotFoundError):  # another worker was faster
            trigger = json.loads(path.read_text())
            if job.spec.kind not in trigger["kinds"]:  # type: ignore[attr-defined]
                continue
            path.rename(path.with_suffix(".taken"))
            path.with_suffix(".taken").write_text(job.key)
            if trigger.get("for_good"):
                poisoned = folder / f"poisoned-{job.key}"
                poisoned.write_text(json.dumps(trigger))
            return dict(trigger)
    return None


@contextlib.contextmanager
def _nan(job: StageJob, trigger: dict[str, Any]) -> Iterator[None]:
    """One weight of the warm model is NaN: the training loop finds a loss that is no number."""
    import torch

    from jobs.stages.models import load_base

    weight = next(iter(load_base(job).unet.parameters()))
    with torch.no_grad():
        kept = weight.flatten()[0].clone()
        weight.view(-1)[0] = float("nan")
    try:
        yield
    finally:
        with torch.no_grad():
            weight.view(-1)[0] = kept


@contextlib.contextmanager
def _fake_allocator(job: StageJob, trigger: dict[str, Any]) -> Iterator[None]:
    import torch

    raise torch.OutOfMemoryError("out of memory. Tried to allocate 20.00 GiB (by a fake allocator)")
    yield


@contextlib.contextmanager
def _rlimit(job: StageJob, trigger: dict[str, Any]) -> Iterator[None]:
    """The process may map 64 MB more than it has: the system itself refuses what is asked for next."""
    import torch

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (64 << 20), hard))
    try:
        torch.ones(256 << 20)  # 1 GB
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def _cgroup(job: StageJob, trigger: dict[str, Any]) -> Iterator[None]:
    """The process moves into a group with a limit on memory and goes beyond it: the kernel kills it."""
    Path(trigger["group"], "cgroup.procs").write_text(str(os.getpid()))
    eaten = [bytearray(os.urandom(1 << 20)) * 64 for _ in range(64)]  # 4 GB
    time.sleep(60 + len(eaten))
    yield


@contextlib.contextmanager
def _hang(job: StageJob, trigger: dict[str, Any]) -> Iterator[None]:
    """Nothing more is heard of the stage."""
    deadline = time.monotonic() + 3600
    while time.monotonic() < deadline:
        time.sleep(1)
    yield


@contextlib.contextmanager
def _dies(job: StageJob, trigger: dict[str, Any]) -> Iterator[None]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield


TROUBLES: dict[str, Callable[[StageJob, dict[str, Any]], contextlib.AbstractContextManager[None]]] = {
    "nan": _nan,
    "fake-allocator": _fake_allocator,
    "rlimit": _rlimit,
    "cgroup": _cgroup,
    "hang": _hang,
    "poison": _dies,
}
