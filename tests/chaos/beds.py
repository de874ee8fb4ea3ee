"""Where a grid runs while things break.

A folder and SQLite; an S3 server and an MLflow server behind wires that can be cut; hosts that can be cut off, with a shared folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.services import mlflow, postgres, seaweedfs
from tests.chaos.cluster import cluster
from tests.chaos.grid import Undisturbed
from tests.chaos.misbehave import FOLDER
from tests.chaos.proxy import Proxy
from tests.chaos.world import World

DISK_MB = 24
_BUCKET = "s2l-chaos"


@contextlib.contextmanager
def in_a_folder(folder: Path, undisturbed: Undisturbed, *arguments: str) -> Iterator[World]:
    """The store in a folder, on a small disk of its own where one can be mounted; MLflow on SQLite.

    Args:
        arguments: further words for `s2l run`.
    """
    store = folder / "disk" / "store"
    store.parent.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        small = _mount(store.parent)
        if small:
            stack.callback(_unmount, store.parent)
        parts = {"small disk": small}
        world = World(folder, undisturbed, str(store), f"sqlite:///{folder / 'mlflow.db'}", arguments=arguments, parts=parts)
        stack.callback(end, world)
        yield world


@contextlib.contextmanager
def with_services(folder: Path, undisturbed: Undisturbed, *arguments: str, seed: int = 0) -> Iterator[World]:
    """The store on SeaweedFS, MLflow as a server, on PostgreSQL where that is installed.

    Drivers and workers reach both through proxies, we do directly.
    """
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        store = seaweedfs.start(folder / "seaweedfs", buckets=[_BUCKET])
        stack.callback(_stop_store, folder / "seaweedfs")
        parts: dict[str, Any] = {"store server": store}
        backend = None
        if has_postgres():
            parts["database"] = stack.enter_context(_database())
            backend = parts["database"].uri
        tracking = parts["tracking server"] = mlflow.start(folder / "mlflow", backend=backend)
        stack.callback(lambda: mlflow.stop(tracking, at_once=True))
        parts["store"], parts["tracking"] = Proxy(store.ports[3], seed), Proxy(tracking.port, seed)
        stack.callback(parts["store"].close)
        stack.callback(parts["tracking"].close)
        world = World(
            folder,
            undisturbed,
            store=f"s3://{_BUCKET}/{uuid.uuid4().hex[:8]}",
            tracking=parts["tracking"].url,
            direct_tracking=tracking.uri,
            env=store.environment() | {"AWS_ENDPOINT_URL_S3": parts["store"].url},
            look=store.environment() | {"AWS_MAX_ATTEMPTS": "1"},
            arguments=arguments,
            parts=parts,
        )
        stack.callback(end, world)
        yield world


@contextlib.contextmanager
def on_nodes(folder: Path, undisturbed: Undisturbed) -> Iterator[World]:
    """A Ray cluster of a head, where drivers run, and two nodes; the store in a folder that all see."""
    folder.mkdir(parents=True)
    world = World(folder, undisturbed, str(folder / "store"), f"sqlite:///{folder / 'mlflow.db'}")
    needed = ("PYTHONPATH", FOLDER, "S2L_STORE", "MLFLOW_TRACKING_URI")
    given = {name: world.environment()[name] for name in needed}
    with cluster(folder, given) as hosts:

        def starts(words: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[Any]:
            return hosts.head.start(words, env=hosts.env, log=log)

        world.starts, world.finds_workers = starts, hosts.workers
        world.arguments = ("--address", hosts.address)
        world.parts["cluster"] = hosts
        try:
            yield world
        finally:
            end(world)


def has_postgres() -> bool:
    return bool(shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))


def _stop_store(folder: Path) -> None:
    """Whichever server runs there by now."""
    server = seaweedfs.find(folder)
    if server is not None:
        seaweedfs.stop(server, at_once=True)


@contextlib.contextmanager
def _database() -> Iterator[postgres.Postgres]:
    """PostgreSQL in a folder that the user it runs as can reach, which a test's own folder is not."""
    folder = Path(tempfile.mkdtemp(prefix="s2l-chaos-db-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield postgres.start(folder / "postgres")
    finally:
        server = postgres.find(folder / "postgres")
        if server is not None:
            postgres.stop(server, at_once=True)
        shutil.rmtree(folder, ignore_errors=True)


def end(world: World) -> None:
    """No driver outlives its world."""
    for driver in world.running():
        world.kill(driver)
    shutil.rmtree(world.temp, ignore_errors=True)


def _unmount(place: Path) -> None:
    """What was on it stays, on a disk of the usual size, for looking at."""
    kept = place.with_name("kept")
    shutil.copytree(place, kept)
    subprocess.run(["umount", "-l", str(place)], check=False)
    kept.rename(place / "kept")


def _mount(place: Path) -> bool:
    """A small file system in memory; False where this user may not mount."""
    if os.geteuid() != 0:
        return False
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "s2l-chaos", str(place)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
