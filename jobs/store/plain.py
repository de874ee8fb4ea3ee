"""A store that is not encrypted, opened only if it really is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jobs.store.marker import key_id_of, needs_key
from jobs.store.protocol import Entry, KeepsUnfinished, ObjectStore, Stored, Unfinished


class PlainStore:
    """Passes everything on, after one look at the first call: without its key an encrypted store would look damaged, or get mixed."""

    def __init__(self, inner: ObjectStore) -> None:
        self.url = inner.url
        self._inner = inner
        self._looked = False

    @property
    def _store(self) -> ObjectStore:
        """
        Raises:
            jobs.errors.InputError: the store is encrypted.
        """
        if not self._looked:
            key_id = key_id_of(self._inner)
            if key_id is not None:
                raise needs_key(self._inner, key_id)
            self._looked = True
        return self._inner

    def get(self, name: str) -> Stored:
        return self._store.get(name)

    def chunks(self, name: str) -> Iterator[bytes]:
        return self._store.chunks(name)

    def size(self, name: str) -> int | None:
        return self._store.size(name)

    def list(self, prefix: str) -> Iterator[Entry]:
        return self._store.list(prefix)

    def create(self, name: str, data: bytes, *, durable: bool = True) -> str:
        return self._store.create(name, data, durable=durable)

    def replace(self, name: str, data: bytes, tag: str, *, durable: bool = True) -> str:
        return self._store.replace(name, data, tag, durable=durable)

    def put_file(self, name: str, path: Path) -> None:
        self._store.put_file(name, path)

    def move(self, name: str, to: str) -> None:
        self._store.move(name, to)

    def delete(self, name: str, tag: str | None = None) -> None:
        self._store.delete(name, tag)

    def unfinished(self) -> Iterator[Unfinished]:
        return self._store.unfinished() if isinstance(self._store, KeepsUnfinished) else iter(())

    def abandon(self, found: Unfinished) -> None:
        if isinstance(self._store, KeepsUnfinished):
            self._store.abandon(found)
