"""A store in which whoever has the bucket alone can read neither bytes nor names."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jobs.errors import AlreadyExists, Corrupt
from jobs.store import marker
from jobs.store.cipher import CHUNK, Cipher, Unreadable, bound_name, plain_size
from jobs.store.protocol import Entry, KeepsUnfinished, ObjectStore, Stored, Unfinished, checked_name, checked_prefix

UNREADABLE = b"\0bytes that were not written with this key under this name\0"
"""What is read in place of bytes that do not prove themselves. No writer writes it, so that whoever checks what they read, as the ledger
always does, finds it corrupt, and quarantine and repair work as they do in a plain store."""


class EncryptedStore:
    """Another store, with names and bytes hidden on this side of it. Whatever that store promises about conditional writes holds here.

    The first call looks at `encryption.json`; the first write to an empty store makes it.
    """

    def __init__(self, inner: ObjectStore, key: bytes) -> None:
        self.url = inner.url
        self._inner = inner
        self._cipher = Cipher(key)
        self._looked = False

    def get(self, name: str) -> Stored:
        stored = self._store.get(self._hidden(name))
        try:
            return Stored(b"".join(self._cipher.unseal(name, [stored.data])), stored.tag)
        except Unreadable:
            return Stored(UNREADABLE, stored.tag)

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            yield from self._cipher.unseal(name, self._store.chunks(self._hidden(name)))
        except Unreadable:
            yield UNREADABLE

    def size(self, name: str) -> int | None:
        sealed = self._store.size(self._hidden(name))
        return None if sealed is None else plain_size(sealed)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Names that this key did not hide are no objects of this store, and are left out."""
        for entry in self._store.list(self._cipher.hide(checked_prefix(prefix))):
            name = self._cipher.show(entry.name)
            if name is not None and name != marker.NAME:
                yield Entry(name, plain_size(entry.size), entry.modified)

    def create(self, name: str, data: bytes, *, durable: bool = True) -> str:
        return self._begun.create(self._hidden(name), self._sealed(name, data), durable=durable)

    def replace(self, name: str, data: bytes, tag: str, *, durable: bool = True) -> str:
        return self._begun.replace(self._hidden(name), self._sealed(name, data), tag, durable=durable)

    def put_file(self, name: str, path: Path) -> None:
        hidden = self._hidden(name)
        with path.open("rb") as file:
            self._put(hidden, self._cipher.seal(name, iter(lambda: file.read(CHUNK), b"")), beside=path.parent)

    def move(self, name: str, to: str) -> None:
        """To and from quarantine as it is, readable or not; to any other name it is written anew."""
        hidden, target = self._hidden(name), self._hidden(to)
        if bound_name(name) == bound_name(to):
            self._begun.move(hidden, target)
            return
        chunks = self._cipher.unseal(name, self._begun.chunks(hidden))
        try:
            if self._store.size(target) is not None:
                raise AlreadyExists(f"the store {self.url} has {to} already")
            self._put(target, self._cipher.seal(to, chunks), beside=None)
        except Unreadable:
            raise Corrupt(f"{name} in the store {self.url} cannot be read with this key") from None
        self._store.delete(hidden)

    def delete(self, name: str, tag: str | None = None) -> None:
        self._store.delete(self._hidden(name), tag)

    def unfinished(self) -> Iterator[Unfinished]:
        return self._store.unfinished() if isinstance(self._store, KeepsUnfinished) else iter(())

    def abandon(self, found: Unfinished) -> None:
        if isinstance(self._store, KeepsUnfinished):
            self._store.abandon(found)

    # --- inside ---

    @property
    def _store(self) -> ObjectStore:
        """
        Raises:
            jobs.errors.InputError: it is encrypted with another key, or holds plain objects.
        """
        if not self._looked:
            found = marker.key_id_of(self._inner)
            if found is not None:
                self._check(found)
            elif any(entry.name != marker.NAME for entry in self._inner.list("")) and marker.key_id_of(self._inner) is None:
                raise marker.holds_plain(self._inner)
        return self._inner

    @property
    def _begun(self) -> ObjectStore:
        """The store, with its marker, for writing."""
        store = self._store
        if not self._looked:
            with contextlib.suppress(AlreadyExists):
                store.create(marker.NAME, marker.marker(self._cipher.id))
            self._check(marker.key_id_of(store) or "")
        return store

    def _check(self, found: str) -> None:
        if found != self._cipher.id:
            raise marker.other_key(self._inner, found, self._cipher.id)
        self._looked = True

    def _hidden(self, name: str) -> str:
        return self._cipher.hide(checked_name(name))

    def _sealed(self, name: str, data: bytes) -> bytes:
        return b"".join(self._cipher.seal(name, [data]))

    def _put(self, hidden: str, sealed: Iterator[bytes], *, beside: Path | None) -> None:
        """Written to a file first: a store takes large objects from files. It lies beside the plain one, where there is room."""
        with tempfile.NamedTemporaryFile(dir=beside, prefix=".sealed-") as file:
            for chunk in sealed:
                file.write(chunk)
            file.flush()
            self._begun.put_file(hidden, Path(file.name))
