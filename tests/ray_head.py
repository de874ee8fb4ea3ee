"""A Ray head with its job server, on free ports of this machine and in a folder of its own: what detached runs are tested on."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

START_S = 180.0


@dataclass(frozen=True)
class RayHead:
    """A head that answers.

    Attributes:
        gcs: what drivers connect to.
        dashboard: what jobs are submitted to.
        token: what both ask for.
    """

    gcs: str
    dashboard: str
    token: str
    temp: Path

    def variables(self) -> dict[str, str]:
        """What a client of the head needs in its environment."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, "RAY_API_SERVER_ADDRESS": self.dashboard}


@contextlib.contextmanager
def ray_head(environment: Mapping[str, str], *, cpus: int = 2) -> Iterator[RayHead]:
    """A head whose nodes have this environment; nothing of it is left afterwards."""
    temp = Path(tempfile.mkdtemp(prefix="s2l-head-", dir="/tmp"))  # Ray's sockets need a short path
    token = secrets.token_hex(32)
    ports = _free_ports(7)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    command += [f"--num-cpus={cpus}", "--num-gpus=0", "--object-store-memory=100000000", f"--temp-dir={temp}", "--disable-usage-stats"]
    command += ["--include-dashboard=true", "--dashboard-host=127.0.0.1"]
    names = (
        "port",
        "dashboard-port",
        "dashboard-agent-listen-port",
        "dashboard-agent-grpc-port",
        "metrics-export-port",
        "ray-client-server-port",
    )
    command += [f"--{name}={port}" for name, port in zip(names, ports, strict=False)]
    variables = {**environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with (temp / "start.log").open("w") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log, cwd=temp, start_new_session=True)
    head = RayHead(f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}", token, temp)
    try:
        _wait(head, process)
        yield head
    finally:
        _end(process, temp)
        shutil.rmtree(temp, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def _wait(head: RayHead, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    request = urllib.request.Request(f"{head.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {head.token}"})
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(request, timeout=5):
            return
        assert process.poll() is None, (head.temp / "start.log").read_text()
        assert time.monotonic() < deadline, f"Ray's job server did not answer within {START_S} s\n{(head.temp / 'start.log').read_text()}"
        time.sleep(0.3)


def _end(process: subprocess.Popen[bytes], temp: Path) -> None:
    """End what was started: the head, its children, and whoever has its folder in its arguments."""
    ours = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        ours = {child.pid: child for child in psutil.Process(process.pid).children(recursive=True)}
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    for other in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(temp) in word for word in other.cmdline()) and other.pid != os.getpid():
                ours[other.pid] = other
    for one in ours.values():
        with contextlib.suppress(psutil.Error):
            one.kill()
    if process.poll() is None:
        process.kill()
    process.wait(10)
    psutil.wait_procs(list(ours.values()), timeout=10)
