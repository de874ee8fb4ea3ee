"""What a worker keeps between trials: the loaded base model, and the verified payloads of parents on local disk."""

from __future__ import annotations

import fcntl
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

    Payloads are verified when they are fetched and then read from here, so that a base model is downloaded once a node. Who uses the folder
    holds a lock on it, which the system takes back when the process ends, however it ends: what nobody holds is left over and may go.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._in_use = _hold(root)

    def folder_of(self, manifest: Manifest, ledger: Ledger) -> Path:
        """A local folder with the stage's verified payloads. Workers that want it at the same time wait for the one that fetches it.

        Raises:
            jobs.errors.Corrupt: the store's bytes do not match the manifest.
        """
        ready = self.root / "parents" / manifest.digest
        if ready.exists():
            return ready
        with (self.root / "parents" / f"{manifest.digest}.lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not ready.exists():
                partial = Path(tempfile.mkdtemp(dir=self.root, prefix="fetch-"))
                try:
                    ledger.fetch(manifest, partial)
                    os.rename(partial, ready)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
        return ready

    def new(self, prefix: str) -> Path:
        return Path(tempfile.mkdtemp(dir=self.root, prefix=prefix))

    def close(self) -> None:
        """Let go of the folder; who is the last one removes it."""
        os.close(self._in_use)
        _remove_unused(self.root)


def private_folder() -> Path:
    """`$TMPDIR/s2l-<uid>`, readable by its owner alone."""
    folder = Path(tempfile.gettempdir()) / f"s2l-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder} belongs to somebody else; set TMPDIR to a folder of your own")
    return folder


def run_name() -> str:
    """What the scratch folders of this process's run are called, on every host."""
    return f"run-{socket.gethostname()}-{os.getpid()}"


def scratch_of(run: str) -> Scratch:
    """This host's scratch folder of a run; those that nobody uses any more are removed."""
    private = private_folder()
    for old in private.glob("run-*"):
        if old.name != run:
            _remove_unused(old)
    return Scratch(private / run)


def _hold(root: Path) -> int:
    """A shared lock on a scratch folder that is surely there: one who found it unused may have removed it while we came."""
    while True:
        handle = -1
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = _open_lock(root)
            fcntl.flock(handle, fcntl.LOCK_SH)
            if (root / "in-use").stat().st_ino == os.fstat(handle).st_ino:
                (root / "parents").mkdir(exist_ok=True, mode=0o700)
                return handle
        except (FileNotFoundError, FileExistsError):  # pathlib says the latter of a folder that went while it looked
            if root.is_file():
                raise
        if handle >= 0:
            os.close(handle)


def _open_lock(root: Path) -> int:
    return os.open(root / "in-use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _remove_unused(root: Path) -> None:
    """Remove a scratch folder that no living process holds. One without a lock is being made, or another version's."""
    if not (root / "in-use").exists():
        return
    try:
        handle = _open_lock(root)
    except OSError:  # gone already
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(root, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(handle)
