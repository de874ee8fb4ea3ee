"""Whether a store keeps its promises: tried out, not believed."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from jobs.errors import AlreadyExists, Conflict, LedgerError, OutOfReach
from jobs.store.protocol import ObjectStore

PREFIX = "probe/"
"""Objects here live for a moment; one that stays was left by somebody who was killed."""


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
