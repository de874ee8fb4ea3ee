"""A real MLflow tracking server on this machine: loopback, SQLite, artifacts beside it, nothing that phones home.

Beyond loopback it listens with a password only.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from cluster.services.ports import check_free, free_ports, is_loopback
from cluster.services.process import (
    command_line,
    end_all,
    log_tail,
    members,
    spawn,
    starts_or_runs,
    wait_until_gone,
    working_folder,
    write_private,
)

_STATE = "mlflow-server.json"
_START_S, _STOP_S = 240.0, 15.0
_KNOWN_S = 60
"""How long MLflow remembers that a password was right. By default it hashes it anew at every request, which costs more than the request."""


@dataclass(frozen=True)
class MlflowServer:
    """A server that was started in a folder.

    Attributes:
        folder: database, artifacts and log.
        pid: of the server and of the process group its workers are in.
        host: where it listens.
        password: of the user `admin`, when it asks for one; else empty.
        reader_password: of the user `reader`, who may look, and write no more than experiments of its own.
    """

    folder: str
    pid: int
    port: int
    host: str = "127.0.0.1"
    password: str = ""
    reader_password: str = ""

    @property
    def uri(self) -> str:
        """The tracking URI, and the address of the UI."""
        return f"http://{self.host}:{self.port}"

    def environment(self, *, reader: bool = False) -> dict[str, str]:
        """MLflow's variables with which any client reaches it; with `reader` as the user that may look."""
        found = {"MLFLOW_TRACKING_URI": self.uri}
        if self.password:
            found["MLFLOW_TRACKING_USERNAME"] = "reader" if reader else "admin"
            found["MLFLOW_TRACKING_PASSWORD"] = self.reader_password if reader else self.password
        return found

    def is_running(self) -> bool:
        """True while our process lives; a stranger that got its number does not count."""
        words = command_line(self.pid)
        return f"--port={self.port}" in words and f"--artifacts-destination={self.folder}/artifacts" in words

    def is_healthy(self) -> bool:
        """True when it answers."""
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def start(
    folder: Path,
    *,
    backend: str | None = None,
    port: int | None = None,
    workers: int = 1,
    host: str | None = None,
    auth: bool | None = None,
) -> MlflowServer:
    """A healthy server in the folder: the one that runs there, or a new one.

    Args:
        folder: made when missing; what it holds from earlier starts is used again.
        backend: a database URI; by default SQLite in the folder.
        port: by default that of the last start, else a free one.
        workers: processes that answer; one is enough for one driver, SQLite gains nothing from more.
        host: where it listens; by default as at the last start, else 127.0.0.1.
        auth: ask for a user and a password (MLflow's basic-auth); by default as at the last start, else no.

    Raises:
        ValueError: it is to listen beyond loopback without a password.
        PortTakenError: somebody else listens on its port.
        RuntimeError: it does not come up; the message ends with its log's last lines.
    """
    folder = Path(os.path.abspath(folder))
    server = find(folder)
    if server is None or not server.is_running():
        server = _launch(folder, server, backend or f"sqlite:///{folder}/mlflow.db", port, workers, host, auth)
    deadline = time.monotonic() + _START_S
    while not server.is_healthy():
        if not starts_or_runs(server.pid, server.is_running) or time.monotonic() > deadline:
            stop(server, at_once=True)
            raise RuntimeError("the MLflow server did not come up; its log ends with:\n" + log_tail(folder / "mlflow-server.log"))
        time.sleep(0.1)
    if server.password:
        _make_reader(server)
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
    if not wait_until_gone(server.pid, server.is_running, _STOP_S) and server.is_running():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        wait_until_gone(server.pid, server.is_running, _STOP_S)
    left = partial(_left, server)
    if at_once or not end_all(left, signal.SIGTERM, _STOP_S):
        end_all(left, signal.SIGKILL, _STOP_S)


def _left(server: MlflowServer) -> list[int]:
    """What is left of its process group when its leader is gone, and keeps its port. After a reboot the group may be another's."""
    return [] if server.is_running() else [pid for pid in members(server.pid) if working_folder(pid) == server.folder]


def _launch(
    folder: Path, before: MlflowServer | None, backend: str, port: int | None, workers: int, host: str | None, auth: bool | None
) -> MlflowServer:
    host = host or (before.host if before else "127.0.0.1")
    asks = auth if auth is not None else bool(before and before.password)
    if not asks and not is_loopback(host):
        raise ValueError(f"MLflow is to listen at {host}, where other machines reach it, without a password; start it with auth")
    if before is not None:
        stop(before)
    port = port or (before.port if before else free_ports(1)[0])
    check_free(port, "MLflow", host=host, choose="--mlflow-port")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    password = (before.password if before else "") or secrets.token_urlsafe(24)
    reader = (before.reader_password if before else "") or secrets.token_urlsafe(24)
    known = MlflowServer(str(folder), 0, port, host, password if asks else "", reader if asks else "")
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        f"--host={host}",
        f"--port={port}",
        f"--workers={workers}",
        f"--artifacts-destination={folder}/artifacts",
        "--serve-artifacts",
        *(_auth_arguments(folder, known) if asks else ()),
    ]
    server = replace(known, pid=spawn(command, folder, folder / "mlflow-server.log", _environment(folder, known, backend)))
    write_private(folder / _STATE, json.dumps(asdict(server)))
    return server


def _auth_arguments(folder: Path, server: MlflowServer) -> list[str]:
    """The basic-auth application; hosts that are not these are refused, as a page of elsewhere would name."""
    lines = ["[mlflow]", "default_permission = READ", f"database_uri = sqlite:///{folder}/users.db", "admin_username = admin"]
    lines.append(f"auth_cache_ttl_seconds = {_KNOWN_S}")
    write_private(folder / "auth.ini", "\n".join([*lines, ""]))
    return ["--app-name=basic-auth", f"--allowed-hosts={server.host}:{server.port},localhost:{server.port},127.0.0.1:{server.port}"]


def _environment(folder: Path, server: MlflowServer, backend: str) -> dict[str, str]:
    """Job execution off: 5 processes instead of 13. No usage reports. Passwords go this way: all can read a command line."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_TRACKING_", "MLFLOW_AUTH_"))}
    found = kept | {"MLFLOW_BACKEND_STORE_URI": backend, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    found |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    if server.password:
        found["MLFLOW_AUTH_CONFIG_PATH"] = f"{folder}/auth.ini"
        found["MLFLOW_AUTH_ADMIN_PASSWORD"] = server.password
        found["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secrets.token_hex(32)
    return found


def _make_reader(server: MlflowServer) -> None:
    """See that the user `reader` is there; MLflow lets every user read, and write what is their own."""
    login = base64.b64encode(f"admin:{server.password}".encode()).decode()
    body = json.dumps({"username": "reader", "password": server.reader_password}).encode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.uri}/api/2.0/mlflow/users/create", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30):
            pass
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode(errors="replace")
        if "RESOURCE_ALREADY_EXISTS" not in text:
            raise RuntimeError(f"MLflow made no user for reading: {error.code} {text[:200]}") from None
