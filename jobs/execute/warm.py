"""What a worker keeps between trials: the loaded base model, and the verified payloads of parents on local disk."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jobs.errors import InputError
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest

T = TypeVar("T")


class Warm:
    """A least-recently-used cache of a few costly values."""

    def __init__(self, size: int = 2) -> None:
        self._size = size
        self._values: OrderedDict[str, Any] = OrderedDict()

    def get(self, key: str, make: Callable[[], T]) -> T:
        if key not in self._values:
            while len(self._values) >= self._size:
                self._values.popitem(last=False)
            self._values[key] = make()
        self._values.move_to_end(key)
        value: T = self._values[key]
        return value


class Manifests:
    """The manifests of stages that unit after unit hangs on: data, base, SP sets, scores of the un-shaken base.

    What another driver makes again meanwhile is seen by the next worker, or when its bytes prove gone (`forget`).
    """

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._known: OrderedDict[str, Manifest] = OrderedDict()

    def get(self, ledger: Ledger, kind: str, key: str) -> Manifest | None:
        """The stage's manifest, or None when it is not done."""
        found = self._known.get(key) or ledger.manifest(kind, key)
        if found is not None:
            self._known[key] = found
            self._known.move_to_end(key)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return found

    def forget(self, key: str) -> None:
        self._known.pop(key, None)


class Scratch:
    """A private folder of this host that a run uses and removes; workers of one host share what they fetched.

    Payloads are verified when they are fetched and then read from here, so that a base model is downloaded once a node.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "parents").mkdir(parents=True, exist_ok=True, mode=0o700)

    def folder_of(self, manifest: Manifest, ledger: Ledger) -> Path:
        """A local folder with the stage's verified payloads.

        Raises:
            jobs.errors.Corrupt: the store's bytes do not match the manifest.
        """
        ready = self.root / "parents" / manifest.digest
        if not ready.exists():
            partial = Path(tempfile.mkdtemp(dir=self.root, prefix="fetch-"))
            try:
                ledger.fetch(manifest, partial)
                os.rename(partial, ready)
            except OSError:
                if not ready.exists():  # not another worker's copy that came first
                    raise
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return ready

    def new(self, prefix: str) -> Path:
        return Path(tempfile.mkdtemp(dir=self.root, prefix=prefix))


def private_folder() -> Path:
    """`$TMPDIR/s2l-<uid>`, readable by its owner alone."""
    folder = Path(tempfile.gettempdir()) / f"s2l-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder} belongs to somebody else; set TMPDIR to a folder of your own")
    return folder


def _pid_namespace() -> str:
    """What tells this container's pids from another's of the same host."""
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]") + "-"
    except OSError:
        return ""


def run_folder() -> Path:
    """A fresh scratch folder of this process; those of processes that are gone are removed."""
    private = private_folder()
    # a folder shared by hosts, or by containers of one host, holds runs whose pids mean nothing here
    ours = f"run-{socket.gethostname()}-{_pid_namespace()}"
    for old in private.glob(f"{ours}*"):
        pid = old.name.removeprefix(ours)
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc").exists():
            shutil.rmtree(old, ignore_errors=True)
    folder = private / f"{ours}{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder
