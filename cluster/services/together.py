"""All services of one folder, started and stopped together: object store, MLflow (on PostgreSQL when asked), Ray head."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from cluster.services import environment, mlflow, postgres, ray_head, seaweedfs
from cluster.services.mlflow import MlflowServer
from cluster.services.ports import check_address, is_loopback
from cluster.services.ray_head import RayHead
from cluster.services.seaweedfs import SeaweedFS

PARTS = ("s3", "mlflow", "ray")
Say = Callable[[str], None]


class Server(Protocol):
    """What the four have in common."""

    @property
    def pid(self) -> int: ...

    def is_running(self) -> bool: ...


class SettledError(ValueError):
    """A service runs with other settings than are asked for."""


@dataclass(frozen=True)
class Wanted:
    """What to start. None leaves a setting as it was at the last start in the folder.

    Attributes:
        parts: of PARTS.
        host: an address of this machine under which other machines reach the services; by default loopback.
        auth: MLflow asks for a user and a password; always so beyond loopback.
        postgres: MLflow keeps its runs in PostgreSQL.
        ports: by part (`s3`, `mlflow`, `postgres`, `ray`, `dashboard`); those not named are free ones, and stay as they are.
    """

    parts: tuple[str, ...] = PARTS
    host: str | None = None
    auth: bool = False
    postgres: bool = False
    ports: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Service:
    """One service, as it is now. `state`: started now, running already, or restarted (it had died, or its settings had to change)."""

    name: str
    state: Literal["started", "running", "restarted"]
    pid: int
    address: str


def up(folder: Path, wanted: Wanted, say: Say) -> list[Service]:
    """Every wanted service healthy, those that ran already untouched, and the two environment files written.

    Raises:
        ValueError: the host is none of this machine's, or a running service has other settings.
        PortTakenError, FileNotFoundError, PermissionError, RuntimeError: as the services' own `start`.
    """
    folder = Path(os.path.abspath(folder))
    host = check_address(wanted.host) if wanted.host else None
    _refuse_changes(folder, wanted, host)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(folder):
        found = _Started(folder, wanted, host, say)
        if "s3" in wanted.parts:
            found.start_store()
        if "mlflow" in wanted.parts:
            found.start_tracking()
        if "ray" in wanted.parts:
            found.start_ray()
        environment.write(folder, *_known(folder))
        return found.services


def down(folder: Path, say: Say) -> list[tuple[str, bool]]:
    """Stop what was started in the folder, and only that; (name, whether it ran). The data, the ports and the credentials stay."""
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        return []
    stopped = []
    with _alone(folder):
        for name, server, stop in _all(folder):
            runs = server.is_running()
            if runs:
                say(f"{name}: stopping pid {server.pid}")
            stop()  # also where it died: a part of it may be left
            stopped.append((name, runs))
    return stopped


def _all(folder: Path) -> Iterator[tuple[str, Server, Callable[[], None]]]:
    """What was started there, in the order of stopping: who writes before who is written to."""
    if head := ray_head.find(folder / "ray"):
        yield "ray", head, partial(ray_head.stop, head)
    if tracking := mlflow.find(folder / "mlflow"):
        yield "mlflow", tracking, partial(mlflow.stop, tracking)
    if database := postgres.find(folder / "postgres"):
        yield "postgres", database, partial(postgres.stop, database)
    if store := seaweedfs.find(folder / "s3"):
        yield "s3", store, partial(seaweedfs.stop, store)


def _known(folder: Path) -> tuple[SeaweedFS | None, MlflowServer | None, RayHead | None]:
    """Those of the three that run."""
    store, tracking, ray = seaweedfs.find(folder / "s3"), mlflow.find(folder / "mlflow"), ray_head.find(folder / "ray")
    return (
        store if store and store.is_running() else None,
        tracking if tracking and tracking.is_running() else None,
        ray if ray and ray.is_running() else None,
    )


class _Started:
    """One `up` in progress."""

    def __init__(self, folder: Path, wanted: Wanted, host: str | None, say: Say) -> None:
        self.folder, self.wanted, self.host, self.say = folder, wanted, host, say
        self.services: list[Service] = []

    def start_store(self) -> None:
        before = seaweedfs.find(self.folder / "s3")
        self._tell("s3", before)
        server = seaweedfs.start(self.folder / "s3", buckets=(environment.BUCKET,), port=self.wanted.ports.get("s3"), host=self.host)
        self._note("s3", before, server, server.endpoint)

    def start_tracking(self) -> None:
        backend = self._start_database()
        before = mlflow.find(self.folder / "mlflow")
        self._tell("mlflow", before)
        host = self.host or (before.host if before else "127.0.0.1")
        auth = True if self.wanted.auth or not is_loopback(host) else None
        server = mlflow.start(self.folder / "mlflow", backend=backend, port=self.wanted.ports.get("mlflow"), host=self.host, auth=auth)
        self._note("mlflow", before, server, server.uri)

    def _start_database(self) -> str | None:
        """The URI of PostgreSQL where it is asked for, now or at an earlier start; None for SQLite."""
        before = postgres.find(self.folder / "postgres")
        if before is None and not self.wanted.postgres:
            return None
        if before is None and (self.folder / "mlflow" / "mlflow.db").exists():
            self.say("mlflow: its runs so far are in SQLite, and stay there; s2l sync GRID writes a grid's into PostgreSQL")
        self._tell("postgres", before)
        server = postgres.start(self.folder / "postgres", port=self.wanted.ports.get("postgres"))
        self._note("postgres", before, server, f"127.0.0.1:{server.port}")
        return server.uri

    def start_ray(self) -> None:
        """Ray comes last: its workers get the addresses and the credentials of the rest."""
        before = ray_head.find(self.folder / "ray")
        store, tracking, _ = _known(self.folder)
        given = environment.variables(store, tracking, None)
        if before is not None and before.is_running() and before.given != ray_head.fingerprint(given):
            self.say("ray: starting again, since the store's or MLflow's address or credentials changed")
            ray_head.stop(before)
        self._tell("ray", before)
        server = ray_head.start(
            self.folder / "ray",
            host=self.host,
            port=self.wanted.ports.get("ray"),
            dashboard_port=self.wanted.ports.get("dashboard"),
            environment=given,
        )
        self._note("ray", before, server, server.address)

    def _tell(self, name: str, before: Server | None) -> None:
        if before is None or not before.is_running():
            self.say(f"{name}: starting")

    def _note(
        self,
        name: str,
        before: Server | None,
        now: Server,
        address: str,
    ) -> None:
        same = before is not None and before.pid == now.pid
        state: Literal["started", "running", "restarted"] = "running" if same else "started" if before is None else "restarted"
        self.services.append(Service(name, state, now.pid, address))


def _refuse_changes(folder: Path, wanted: Wanted, host: str | None) -> None:
    """Settings of a service that runs cannot change under those who use it.

    Raises:
        SettledError: some would have to.
    """
    store, tracking, ray = _known(folder)
    database = postgres.find(folder / "postgres")
    hosts = {name: server.host for name, server in (("s3", store), ("mlflow", tracking), ("ray", ray)) if server is not None}
    for name, at in hosts.items():
        if name in wanted.parts and host not in (None, at):
            raise _settled(name, f"listens at {at}", f"--host {wanted.host}")
    if "mlflow" in wanted.parts and tracking is not None:
        if wanted.auth and not tracking.password:
            raise _settled("mlflow", "asks for no password", "--auth")
        if wanted.postgres and database is None:
            raise _settled("mlflow", "keeps its runs in SQLite", "--postgres")
    have = {
        "s3": store.ports[3] if store else None,
        "mlflow": tracking.port if tracking else None,
        "ray": ray.ports[0] if ray else None,
        "dashboard": ray.ports[1] if ray else None,
        "postgres": database.port if database is not None and database.is_running() else None,
    }
    for name, port in wanted.ports.items():
        if have[name] is not None and have[name] != port:
            raise _settled(name, f"listens on port {have[name]}", f"--{name}-port {port}")


def _settled(name: str, has: str, asked: str) -> SettledError:
    return SettledError(f"{name} runs and {has}; to change that: s2l down, then s2l up with {asked}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two `up` or `down` of one folder come one after the other."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
