"""A Ray of a test's own that is told it has GPUs."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.s2l_process import ROOT, Home, wait_for


@dataclass(frozen=True)
class FakeGpus:
    """A running Ray; what its drivers need to reach it, and its processes."""

    address: str
    environment: Mapping[str, str]
    pid: int

    def processes(self, title: str) -> list[psutil.Process]:
        """Worker processes whose title begins so."""
        found = []
        for child in psutil.Process(self.pid).children(recursive=True):
            try:
                if " ".join(child.cmdline()).startswith(title):
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found


@dataclass
class ClusterHome(Home):
    """A home whose drivers run on a given Ray."""

    ray: FakeGpus

    def environment(self) -> dict[str, str]:
        return super().environment() | dict(self.ray.environment)


@contextmanager
def ray_with_gpus(*, cpus: int, gpus: int, environment: Mapping[str, str] | None = None) -> Iterator[FakeGpus]:
    """Ray on a free port of the loopback address, with a token; ended with all its processes afterwards."""
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    own |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_enable_metrics_collection": "0"}
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "S2L_", "TUNE_"))}
    for _ in range(STARTS):
        folder, port = Path(tempfile.mkdtemp(dir="/tmp", prefix="s2l-gpus-")), _free_port()
        head = _start(folder, port, [f"--num-cpus={cpus}", f"--num-gpus={gpus}"], {**plain, **own, **(environment or {})})
        try:
            if wait_for(lambda: "Ray runtime started" in _log(folder), "Ray", process=head):  # noqa: B023
                yield FakeGpus(f"127.0.0.1:{port}", own, head.pid)
                return
        finally:
            log = _log(folder)
            _end(head)
            shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError(log)


STARTS = 3
"""Ray gives itself 30 seconds to start, and a busy machine may need more."""


def _start(folder: Path, port: int, size: list[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats", *size]
    command += ["--include-dashboard=false", f"--port={port}", "--node-ip-address=127.0.0.1", f"--temp-dir={folder}"]
    command += ["--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"]
    with (folder / "start.log").open("w") as log:
        return subprocess.Popen(command, env={**environment, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log, text=True)


def _log(folder: Path) -> str:
    return (folder / "start.log").read_text()


def _end(head: subprocess.Popen[str]) -> None:
    children = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
    head.kill()
    head.wait()
    for child in children:
        if child.is_running():
            child.kill()
    psutil.wait_procs(children, timeout=20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
