"""A real MLflow tracking server on this machine: loopback, SQLite, artifacts beside it, nothing that phones home."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

_STATE = "mlflow-server.json"
_START_S, _STOP_S = 90.0, 15.0


@dataclass(frozen=True)
class MlflowServer:
    """A server that was started in a folder.

    Attributes:
        folder: database, artifacts and log.
        pid: of the server and of the process group its workers are in.
    """

    folder: str
    pid: int
    port: int

    @property
    def uri(self) -> str:
        """The tracking URI, and the address of the UI."""
        return f"http://127.0.0.1:{self.port}"

    def is_running(self) -> bool:
        """True while our process lives; a stranger that got its number does not count."""
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return f"--port={self.port}".encode() in words and f"--artifacts-destination={self.folder}/artifacts".encode() in words

    def is_healthy(self) -> bool:
        """True when it answers."""
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def start(folder: Path, *, backend: str | None = None, port: int | None = None, workers: int = 1) -> MlflowServer:
    """A healthy server in the folder: the one that runs there, or a new one.

    Args:
        folder: made when missing; what it holds from earlier starts is used again.
        backend: a database URI; by default SQLite in the folder.
        port: by default that of the last start, else a free one.
        workers: processes that answer; one is enough for one driver, SQLite gains nothing from more.

    Raises:
        RuntimeError: it does not come up; the message ends with its log's last lines.
    """
    folder = Path(os.path.abspath(folder))
    server = find(folder)
    if server is None or not server.is_running():
        server = _launch(folder, backend or f"sqlite:///{folder}/mlflow.db", port or (server.port if server else _free_port()), workers)
    deadline = time.monotonic() + _START_S
    while not server.is_healthy():
        if not server.is_running() or time.monotonic() > deadline:
            stop(server, at_once=True)
            tail = (folder / "mlflow-server.log").read_text(errors="replace").splitlines()[-15:]
            raise RuntimeError("the MLflow server did not come up; its log ends with:\n" + "\n".join(tail))
        time.sleep(0.1)
    return server


def find(folder: Path) -> MlflowServer | None:
    """The server that was started in the folder last, running or not."""
    try:
        return MlflowServer(**json.loads((folder / _STATE).read_text()))
    except FileNotFoundError:
        return None


def stop(server: MlflowServer, *, at_once: bool = False) -> None:
    """Stop it with its workers and wait until it is gone; `at_once` as a crash would."""
    if server.is_running():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL if at_once else signal.SIGTERM)
    if not _wait_until_gone(server) and server.is_running():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        _wait_until_gone(server)


def _launch(folder: Path, backend: str, port: int, workers: int) -> MlflowServer:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host=127.0.0.1",
        f"--port={port}",
        f"--workers={workers}",
        f"--backend-store-uri={backend}",
        f"--artifacts-destination={folder}/artifacts",
        "--serve-artifacts",
    ]
    with (folder / "mlflow-server.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    server = MlflowServer(str(folder), process.pid, port)
    (folder / _STATE).write_text(json.dumps(asdict(server)))
    while not server.is_running() and process.poll() is None:  # a process has no command line for a moment after its start
        time.sleep(0.01)
    process.returncode = 0  # it outlives this object, and is found again by its folder
    return server


def _environment() -> dict[str, str]:
    """Job execution off: 5 processes instead of 13. No usage reports."""
    kept = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "MLFLOW_BACKEND_STORE_URI")}
    return kept | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_gone(server: MlflowServer) -> bool:
    deadline = time.monotonic() + _STOP_S
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(server.pid, os.WNOHANG)  # when it is our child, so that it leaves no zombie
        if not server.is_running():
            return True
        time.sleep(0.05)
    return False
