"""Whether a store keeps its promises: tried out, not believed."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import AlreadyExists, Conflict, LedgerError, OutOfReach, S2LError
from jobs.store.protocol import ObjectStore

PREFIX = "probe/"
"""Objects here live for a moment; one that stays was left by somebody who was killed."""
_LARGE = 9 << 20
"""Bytes of a file that a bucket gets in more than one part."""
_BESIDE = "-moved"


def probe(store: ObjectStore) -> None:
    """Write, list, read, race for and remove one small object.

    Raises:
        jobs.errors.OutOfReach: the store cannot be used, or writes where it promised not to.
    """
    name = f"{PREFIX}{uuid.uuid4().hex}"
    tag = store.create(name, b"1")
    try:
        _refused(store, AlreadyExists, lambda: store.create(name, b"2"), "If-None-Match: *")
        new = store.replace(name, b"3", tag)
        _refused(store, Conflict, lambda: store.replace(name, b"4", tag), "If-Match")
        if store.get(name).data != b"3" or (name, 1) not in {(entry.name, entry.size) for entry in store.list(PREFIX)} or new == tag:
            raise OutOfReach(f"the store {store.url} does not give back what was written to it a moment ago")
    finally:
        store.delete(name)


def examine(store: ObjectStore) -> None:
    """A probe, and then every other operation that the ledger relies on, each on objects of its own.

    Raises:
        jobs.errors.OutOfReach: the store cannot be used, or does not do all; the message names each operation, and what its lack does.
    """
    probe(store)
    lacks = [told for operation in _OPERATIONS if (told := _lack(store, operation))]
    if lacks:
        raise OutOfReach(f"the store {store.url} lacks what S2L relies on: {'; '.join(lacks)}")


def clock_of(store: ObjectStore) -> float:
    """What time it is by the clock that dates the store's objects, in seconds since 1970; this machine's may be wrong.

    Raises:
        jobs.errors.OutOfReach: the store cannot be used, or not be written to.
    """
    name = f"{PREFIX}{uuid.uuid4().hex}"
    store.create(name, b"?", durable=False)
    try:
        dated = [entry.modified for entry in store.list(PREFIX) if entry.name == name]
    finally:
        store.delete(name)
    if not dated:
        raise OutOfReach(f"the store {store.url} does not list what was written to it a moment ago")
    return dated[0]


def _refused(store: ObjectStore, expected: type[LedgerError], write: Callable[[], object], what: str) -> None:
    try:
        write()
    except expected:
        return
    raise OutOfReach(f"the store {store.url} ignores conditional puts ({what}): two drivers would overwrite each other; use another server")


@dataclass(frozen=True)
class _Operation:
    """What a store must do.

    Attributes:
        name: in the words of S3.
        harm: what may happen where it does not.
        works: whether it does, with an object of this name.
    """

    name: str
    harm: str
    works: Callable[[ObjectStore, str], bool]


def _deletes_what_was_read(store: ObjectStore, name: str) -> bool:
    old = store.create(name, b"1")
    new = store.replace(name, b"2", old)
    with contextlib.suppress(Conflict):
        store.delete(name, old)
        return False
    if store.size(name) is None:
        return False
    store.delete(name, new)
    return store.size(name) is None


def _leaves_what_is_gone(store: ObjectStore, name: str) -> bool:
    tag = store.create(name, b"1")
    store.delete(name)
    with contextlib.suppress(Conflict):
        store.replace(name, b"2", tag)
        return False
    return store.size(name) is None


def _moves_large_files(store: ObjectStore, name: str) -> bool:
    """Bytes that differ from part to part, so that parts in another order are noticed."""
    data = b"".join(number.to_bytes(8, "big") for number in range(_LARGE // 8))
    with tempfile.TemporaryDirectory(prefix="s2l-probe-") as folder:
        path = Path(folder) / "large"
        path.write_bytes(data)
        store.put_file(name, path)
    store.move(name, name + _BESIDE)
    return store.size(name) is None and b"".join(store.chunks(name + _BESIDE)) == data


_OPERATIONS = (
    _Operation(
        "a conditional delete (DeleteObject with If-Match)",
        "the lease or the result that another driver has just written could be removed",
        _deletes_what_was_read,
    ),
    _Operation(
        "a conditional put on what is gone (PutObject with If-Match)",
        "a lease that was given back could come back",
        _leaves_what_is_gone,
    ),
    _Operation(
        "a file in parts, copied and read (UploadPart, UploadPartCopy, CompleteMultipartUpload)",
        "weights could not be stored, or not be put into quarantine",
        _moves_large_files,
    ),
)


def _lack(store: ObjectStore, operation: _Operation) -> str:
    """What is wrong with an operation; empty when it works."""
    name = f"{PREFIX}{uuid.uuid4().hex}"
    try:
        return "" if operation.works(store, name) else f"{operation.name} does not do what it should: {operation.harm}"
    except S2LError as error:
        return f"{operation.name} fails: {operation.harm} ({error})"
    finally:
        for left in (name, name + _BESIDE):
            with contextlib.suppress(S2LError):
                store.delete(left)
