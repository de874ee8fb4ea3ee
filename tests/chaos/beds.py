"""Where a grid runs while things break: a folder and SQLite; an S3 server and an MLflow server behind wires that can be cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from cluster.services import mlflow, seaweedfs
from tests.chaos.grid import Undisturbed
from tests.chaos.proxy import Proxy
from tests.chaos.world import World

DISK_MB = 24
_BUCKET = "s2l-chaos"


@contextlib.contextmanager
def in_a_folder(folder: Path, undisturbed: Undisturbed) -> Iterator[World]:
    """The store in a folder, on a small disk of its own where one can be mounted; MLflow on SQLite."""
    folder.mkdir(parents=True)
    store = folder / "disk" / "store"
    store.parent.mkdir()
    small = _mount(store.parent)
    world = World(folder, undisturbed, str(store), f"sqlite:///{folder / 'mlflow.db'}", parts={"small disk": small})
    try:
        yield world
    finally:
        end(world)
        if small:
            subprocess.run(["umount", "-l", str(store.parent)], check=False)


@contextlib.contextmanager
def with_services(folder: Path, undisturbed: Undisturbed, *, seed: int = 0, backend: str | None = None) -> Iterator[World]:
    """The store on SeaweedFS, MLflow as a server; drivers and workers reach both through proxies, we do directly."""
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        store = seaweedfs.start(folder / "seaweedfs", buckets=[_BUCKET])
        stack.callback(lambda: seaweedfs.stop(seaweedfs.find(folder / "seaweedfs") or store, at_once=True))
        tracking = mlflow.start(folder / "mlflow", backend=backend)
        stack.callback(lambda: mlflow.stop(tracking, at_once=True))
        wires = {"store": Proxy(store.ports[3], seed), "tracking": Proxy(tracking.port, seed)}
        for wire in wires.values():
            stack.callback(wire.close)
        world = World(
            folder,
            undisturbed,
            store=f"s3://{_BUCKET}/{uuid.uuid4().hex[:8]}",
            tracking=wires["tracking"].url,
            direct_tracking=tracking.uri,
            env=store.environment() | {"AWS_ENDPOINT_URL_S3": wires["store"].url},
            look=store.environment() | {"AWS_MAX_ATTEMPTS": "1"},
            parts={**wires, "store server": store, "tracking server": tracking},
        )
        stack.callback(end, world)
        yield world


def end(world: World) -> None:
    """No driver outlives its world."""
    for driver in world.running():
        world.kill(driver)
    shutil.rmtree(world.temp, ignore_errors=True)


def _mount(place: Path) -> bool:
    """A small file system in memory; False where this user may not mount."""
    if os.geteuid() != 0:
        return False
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "s2l-chaos", str(place)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
