"""A shake that behaves as `$UNRULY/plan.json` says: {seed: [behaviour of the first try, of the second, ...]}; the last one stays.

Every try leaves a line of JSON in `$UNRULY/tries`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from jobs.stages.checkpoints import Checkpoints
from jobs.stages.contract import StageJob

RESUMES = True
STEPS = 60


def run(job: StageJob) -> None:
    spec: Any = job.spec
    folder, seed = Path(os.environ["UNRULY"]), str(spec.seed)
    behaviours = json.loads((folder / "plan.json").read_text()).get(seed, ["good"])
    number = sum(one["seed"] == seed for one in tries(folder))
    how = behaviours[min(number, len(behaviours) - 1)]
    note = {"seed": seed, "host": socket.gethostname(), "pid": os.getpid(), "how": how, "micro_batch": job.micro_batch}
    with (folder / "tries").open("a") as file:
        file.write(json.dumps(note) + "\n")
    job.say(0.5, f"try {number + 1}, {how}")
    globals()[f"_{how}"](job, folder)
    (job.out / "shake.json").write_text(json.dumps({"seed": seed}))


def tries(folder: Path) -> list[dict[str, Any]]:
    path = folder / "tries"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _good(job: StageJob, folder: Path) -> None:
    """Works."""


def _die(job: StageJob, folder: Path) -> None:
    time.sleep(0.5)  # its last words are heard
    os.kill(os.getpid(), signal.SIGKILL)


def _die_on_n1(job: StageJob, folder: Path) -> None:
    """A node that is broken, and gives every unit back quickly; the others take their time."""
    if socket.gethostname() == "n1":
        _die(job, folder)
    time.sleep(15)  # longer than a worker takes to start, or one would do everything


def _hungry(job: StageJob, folder: Path) -> None:
    """The kernel kills it, unless it computes in pieces."""
    if job.micro_batch is None:
        _die(job, folder)


def _spoil(job: StageJob, folder: Path) -> None:
    """What torch raises when a GPU's process can compute no more."""
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported")


def _down(job: StageJob, folder: Path) -> None:
    """Takes its node down: Ray's node process dies, and with it all of its workers."""
    time.sleep(0.5)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def _evicted(job: StageJob, folder: Path) -> None:
    """Takes so much memory that its node tells it to leave; keeps the checkpoint that it had."""
    checkpoints = Checkpoints(job)
    with tempfile.TemporaryDirectory() as state:
        checkpoints.load(Path(state))
        (Path(state) / "step").write_text("1")
        os.kill(os.getpid(), signal.SIGTERM)
        while not checkpoints.due():
            time.sleep(0.01)
        checkpoints.save(Path(state))


def _hang(job: StageJob, folder: Path) -> None:
    while True:  # a signal ends the sleep
        ctypes.PyDLL(None).sleep(10**6)  # in compiled code, with the interpreter's lock: no thread of this process runs


def _steps(job: StageJob, folder: Path) -> None:
    """Resumes where it was, as a fit does; every step leaves a line."""
    checkpoints = Checkpoints(job)
    with tempfile.TemporaryDirectory() as state:
        at = Path(state) / "step"
        done = int(at.read_text()) if checkpoints.load(Path(state)) else 0
        for step in range(done, STEPS):
            time.sleep(0.1)
            with (folder / "steps").open("a") as file:
                file.write(f"{step}\n")
            job.say((step + 1) / STEPS, f"step {step + 1} of {STEPS}")
            if checkpoints.due() and step + 1 < STEPS:
                at.write_text(str(step + 1))
                checkpoints.save(Path(state))
