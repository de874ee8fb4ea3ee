"""Drivers that begin at once: one process has imported all that `s2l run --local` needs, and each driver is a fork of it.

A forked driver is a process like any other, with its own arguments, environment, folder and log, and is killed, warned and
interrupted like any other. What is saved are ten seconds of imports. `python -m tests.chaos.zygote` is that one
process: JSON lines in, JSON lines out.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.s2l_process import ROOT

PRELOADED = (
    *("boto3", "peft", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store", "matplotlib.figure"),
    *("jobs.cli.artifacts", "jobs.cli.run", "jobs.execute.run", "jobs.worker.setup", "jobs.tracker.session", "dashboards.report"),
    *("s2l_core.attacks.engine", "s2l_core.families.sd", "s2l_core.shake", "s2l_core.metrics.compare"),
    *(f"tests.chaos.stages.{kind}" for kind in ("base", "blind", "data", "metrics", "pooled", "score", "shake", "sp")),
)
LAZY = {
    "diffusers": ("AutoencoderKL", "UNet2DConditionModel", "DDIMScheduler"),
    "transformers": ("CLIPTextModel", "CLIPTokenizer"),
}


class Forked:
    """A driver that the zygote has forked; to be used like a `subprocess.Popen`."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote, self.pid = zygote, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._zygote.ask(code_of=self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + timeout if timeout is not None else None
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"driver {self.pid}", timeout or 0.0)
            time.sleep(0.05)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # until then its number is its own
            os.kill(self.pid, number)


class Zygote:
    """The process that drivers are forked from; started at the first one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def start(self, arguments: list[str], environment: dict[str, str], folder: Path, log: Path) -> Forked:
        """A driver with these arguments for `s2l`."""
        log.touch()  # whoever looks at it may be quicker than the fork
        given = {"arguments": arguments, "environment": environment, "folder": str(folder), "log": str(log)}
        return Forked(self, int(self.ask(**given)))

    def ask(self, **what: Any) -> Any:
        with self._lock:
            process = self._process = self._process or _start()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(what) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _start() -> subprocess.Popen[str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "tests.chaos.zygote"]
    return subprocess.Popen(words, cwd=ROOT, env=os.environ | threads | quiet, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# --- in the zygote ---


def preload() -> None:
    """Import what a driver in one process imports; start no thread and open nothing."""
    for name in PRELOADED:
        importlib.import_module(name)
    for library, names in LAZY.items():  # these two import a part when it is asked for
        for name in names:
            getattr(importlib.import_module(library), name)


def serve() -> None:
    preload()
    gc.collect()
    gc.freeze()
    codes: dict[int, int] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "code_of" in asked:
            _collect(codes)
            answer: Any = codes.get(asked["code_of"])
        else:
            answer = _fork(asked)
        print(json.dumps(answer), flush=True)


def _collect(codes: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            codes[pid] = os.waitstatus_to_exitcode(status)


def _fork(asked: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for place, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, place)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["s2l", *asked["arguments"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from tests.chaos.driver import drive

    try:
        drive()
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(int(end.code or 0))
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    serve()
