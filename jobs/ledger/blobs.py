"""The bytes of files, named by what they are."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from jobs.errors import AlreadyExists, NotFound
from jobs.ledger.drops import Drops
from jobs.ledger.manifest import Payload
from jobs.ledger.paths import Paths
from jobs.store.protocol import ObjectStore

SMALL = 1 << 20
"""Bytes up to which a blob is written without asking first whether it is there, and held in memory."""


class Blobs:
    """The `blobs/` part of a store."""

    def __init__(self, store: ObjectStore, drops: Drops | None = None) -> None:
        self._store = store
        self._drops = drops or Drops(store)

    def put(self, payload: Payload, path: Path) -> bool:
        """Make sure that the blob is there, whole: one that lies there already may be what a failing disk left. False when it was there."""
        if self._is_new(payload, path):
            return True
        name = Paths.blob(payload.sha256)
        if self._store.size(name) == payload.size and sha256_of(self._store, name) == payload.sha256:
            return False
        mark = self._drops.before_writing(payload) if payload.is_weights else None
        self._store.put_file(name, path)
        self._drops.written(payload, mark)
        return True

    def put_back(self, payloads: Iterable[Payload], found: Iterable[Payload], folder: Path) -> None:
        """Make sure that what the manifest names is there, now that it does.

        Args:
            payloads: all of them. Another run's `--keep` may have been letting go of weights.
            found: those that lay there before: `gc` may have taken one as nobody's in between.
        """
        for payload in payloads:
            if payload.is_weights:
                self._drops.outlast(payload, folder / payload.name)
        for payload in found:
            if self._store.size(Paths.blob(payload.sha256)) is None:
                self._store.put_file(Paths.blob(payload.sha256), folder / payload.name)

    def copy(self, payload: Payload, target: Path) -> Path | None:
        """The file with the payload's bytes; None when they are missing or wrong."""
        digest = hashlib.sha256()
        try:
            with target.open("wb") as file:
                for chunk in self._store.chunks(Paths.blob(payload.sha256)):
                    digest.update(chunk)
                    file.write(chunk)
                size = file.tell()
        except NotFound:
            return None
        return target if size == payload.size and digest.hexdigest() == payload.sha256 else None

    def read(self, payload: Payload) -> bytes | None:
        """The payload's bytes; None when they are missing or wrong."""
        with contextlib.suppress(NotFound):
            data = self._store.get(Paths.blob(payload.sha256)).data
            if len(data) == payload.size and hashlib.sha256(data).hexdigest() == payload.sha256:
                return data
        return None

    def _is_new(self, payload: Payload, path: Path) -> bool:
        """Write a small blob that is not there yet, in one call. Most are new; weights may have been dropped, which needs a look."""
        if payload.size > SMALL or payload.is_weights:
            return False
        try:
            self._store.create(Paths.blob(payload.sha256), path.read_bytes())
        except AlreadyExists:
            return False
        return True


def sha256_of(store: ObjectStore, name: str) -> str | None:
    """What an object's bytes are, read once; None when there is none."""
    digest = hashlib.sha256()
    try:
        for chunk in store.chunks(name):
            digest.update(chunk)
    except NotFound:
        return None
    return digest.hexdigest()
