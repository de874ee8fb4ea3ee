"""Resumable checkpoints: whole or not at all, and only from whoever holds the stage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from jobs.errors import AlreadyExists, Conflict, NotFound
from jobs.ledger.manifest import Payload, payloads_in, safe_payload_name
from jobs.ledger.paths import Paths
from jobs.store.protocol import ObjectStore

_TRIES = 20


class CheckpointFile(Payload):
    """A file of a checkpoint; `fence` is the lease number under which its bytes were written."""

    fence: NonNegativeInt


class Index(BaseModel):
    """What the newest whole checkpoint consists of. `fence` is the highest lease number that has looked at it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fence: NonNegativeInt
    files: tuple[CheckpointFile, ...] = ()


class StoredProgress:
    """A stage's checkpoints under `progress/<key>/`: files first, then a small index by compare-and-swap.

    Whoever loads or saves with a higher lease number shuts out all lower ones.

    Attributes:
        used: whether anything was loaded or saved; what was not used left nothing.
    """

    def __init__(self, store: ObjectStore, key: str, fence: int, notice: Callable[[str], None]) -> None:
        self._store = store
        self._key = key
        self._fence = fence
        self._notice = notice
        self.used = False

    def load(self, into: Path) -> bool:
        """Put the newest whole checkpoint's files into the folder; False when there is none.

        Raises:
            jobs.errors.Conflict: another driver has taken the stage over; stop at once.
        """
        self.used = True
        for _ in range(_TRIES):
            index = self._swap(None)
            if all(self._copy(file, into / file.name) for file in index.files):
                return bool(index.files)
            if self._read()[0] == index:  # nobody replaced it while we read: its bytes are bad
                break
        self._notice(f"the checkpoint of {self._key} is damaged; the stage starts from its beginning")
        self._swap(())
        return False

    def save(self, folder: Path) -> None:
        """Keep the folder's files as the newest checkpoint, whole or not at all.

        Raises:
            jobs.errors.Conflict: another driver has taken the stage over; stop at once.
        """
        self.used = True
        files = tuple(CheckpointFile(**payload.model_dump(), fence=self._fence) for payload in payloads_in(folder))
        present = set(self._read()[0].files)
        written = {(file.sha256, file.fence) for file in present}
        for file in files:
            if (file.sha256, file.fence) not in written:
                self._store.put_file(self._name(file), folder / file.name)
        self._swap(files)
        self._drop_all_but(files)

    def _swap(self, files: tuple[CheckpointFile, ...] | None) -> Index:
        """Put an index with these files (None: the ones it has) under our fence; returns it."""
        for _ in range(_TRIES):
            index, tag = self._read()
            if index.fence > self._fence:
                raise Conflict(f"another driver has taken over {self._key} (lease {index.fence}, ours is {self._fence})")
            wanted = Index(fence=self._fence, files=index.files if files is None else files)
            if wanted == index and tag is not None:
                return index
            try:
                self._write(wanted, tag)
                return wanted
            except (AlreadyExists, Conflict):
                continue
        raise Conflict(f"the checkpoint index of {self._key} changes faster than it can be written; is another driver on it?")

    def _read(self) -> tuple[Index, str | None]:
        return _read_index(self._store, self._key)

    def _write(self, index: Index, tag: str | None) -> None:
        name, data = Paths.progress_index(self._key), index.model_dump_json(indent=1).encode()
        if tag is None:
            self._store.create(name, data)
        else:
            self._store.replace(name, data, tag)

    def _copy(self, file: CheckpointFile, target: Path) -> bool:
        if not safe_payload_name(file.name):
            return False
        digest = hashlib.sha256()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("wb") as out:
                for chunk in self._store.chunks(self._name(file)):
                    digest.update(chunk)
                    out.write(chunk)
        except NotFound:
            return False
        return digest.hexdigest() == file.sha256

    def _name(self, file: CheckpointFile) -> str:
        return Paths.progress_file(self._key, file.fence, file.sha256)

    def _drop_all_but(self, files: tuple[CheckpointFile, ...]) -> None:
        """Remove older checkpoints' files, never those of a lease with a higher number than ours."""
        keep = {self._name(file) for file in files}
        prefix = Paths.progress_of(self._key)
        for entry in list(self._store.list(prefix)):
            fence = entry.name[len(prefix) :].partition("/")[0]
            if entry.name not in keep and fence.isdigit() and int(fence) <= self._fence:
                self._store.delete(entry.name)


def fence_of(store: ObjectStore, key: str) -> int:
    """The highest lease number that has touched a stage's checkpoints; 0 when none has."""
    return _read_index(store, key)[0].fence


def checkpointed(store: ObjectStore, key: str) -> frozenset[str]:
    """The digests of what a stage's newest checkpoint consists of: others once it gets further; none where there is no checkpoint."""
    return frozenset(file.sha256 for file in _read_index(store, key)[0].files)


def _read_index(store: ObjectStore, key: str) -> tuple[Index, str | None]:
    try:
        stored = store.get(Paths.progress_index(key))
    except NotFound:
        return Index(fence=0), None
    try:
        return Index.model_validate_json(stored.data), stored.tag
    except ValidationError:
        return Index(fence=0), stored.tag
