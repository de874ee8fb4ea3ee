"""Whether a store keeps its promises: tried out, not believed."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from jobs.errors import AlreadyExists, Conflict, LedgerError, OutOfReach
from jobs.store.protocol import ObjectStore


def probe(store: ObjectStore) -> None:
    """Write, list, read, race for and remove one small object.

    Raises:
        jobs.errors.OutOfReach: the store cannot be used, or writes where it promised not to.
    """
    name = f"probe/{uuid.uuid4().hex}"
    tag = store.create(name, b"1")
    try:
        _refused(store, AlreadyExists, lambda: store.create(name, b"2"), "If-None-Match: *")
        new = store.replace(name, b"3", tag)
        _refused(store, Conflict, lambda: store.replace(name, b"4", tag), "If-Match")
        if store.get(name).data != b"3" or (name, 1) not in set(store.list("probe/")) or new == tag:
            raise OutOfReach(f"the store {store.url} does not give back what was written to it a moment ago")
    finally:
        store.delete(name)


def _refused(store: ObjectStore, expected: type[LedgerError], write: Callable[[], object], what: str) -> None:
    try:
        write()
    except expected:
        return
    raise OutOfReach(f"the store {store.url} ignores conditional puts ({what}): two drivers would overwrite each other; use another server")
