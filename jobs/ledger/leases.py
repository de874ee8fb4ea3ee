"""Leases keep two drivers off one stage. They save work; commits are safe without them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from jobs.errors import AlreadyExists, Conflict, NotFound, OutOfReach
from jobs.ledger.holder import Holder
from jobs.ledger.paths import Paths
from jobs.ledger.progress import fence_of
from jobs.store.protocol import ObjectStore, Stored

T = TypeVar("T")
DEFAULT_TTL_S = 60.0
ORDINARY_S = 1.0
"""A request that takes longer met a store that did not answer: its client has sent it again by itself, for a minute and more."""


class LeaseRecord(BaseModel):
    """What `leases/<key>.json` holds.

    Attributes:
        number: grows with every take of the key; the fence of its progress. A released lease leaves no record, so that a new one
            starts from the milliseconds of the clock, or from what the progress knows, whichever is later.
        beat: grows with every renewal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    holder: Holder
    number: PositiveInt
    beat: NonNegativeInt = 0

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=1).encode()


@dataclass(frozen=True)
class Lease:
    """A stage that is ours until released, or until another takes it over.

    Attributes:
        number: fences the stage's progress: the highest one wins.
        tag: the store's tag of the record as we wrote it last.
        checkpoints: whether the stage had progress when the lease was taken.
    """

    key: str
    number: int
    record: LeaseRecord
    tag: str
    checkpoints: bool = True


class Leases:
    """Take, renew and release by compare-and-swap.

    A lease runs out when its observer has seen no heartbeat for `ttl` seconds on its own clock, so that clocks may differ; that clock
    stands still while the store does not answer, when nobody can be heard. A holder that is known to be dead is followed at once.

    Args:
        at_once: the same store for renewals and releases, which come round again or run out; a store that waits would hold them up.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        ttl: float = DEFAULT_TTL_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        at_once: ObjectStore | None = None,
    ) -> None:
        self.ttl = ttl
        self._store = store
        self._at_once = at_once or store
        self._clock = clock
        self._wall = wall
        self._seen: dict[str, tuple[str, float]] = {}
        self._deaf_s = 0.0

    def take(self, key: str) -> Lease | None:
        """The lease, or None while somebody else holds it. Most are free, so that nobody's is tried for first."""
        fence = self._timed(lambda: fence_of(self._store, key))
        try:
            return self._write(key, fence, 0, None)
        except AlreadyExists:
            held = self._read(key)
        if held is None or not self._is_over(key, held):
            return None
        try:
            return self._write(key, self._timed(lambda: fence_of(self._store, key)), _number(held), held.tag)
        except (AlreadyExists, Conflict):
            return None

    def renew(self, lease: Lease) -> Lease:
        """The lease with another heartbeat.

        Raises:
            jobs.errors.Conflict: another driver has taken over.
        """
        record = lease.record.model_copy(update={"beat": lease.record.beat + 1})
        name, data = Paths.lease(lease.key), record.to_bytes()
        try:
            tag = self._at_once.replace(name, data, lease.tag, durable=False)
        except Conflict:
            tag = self._at_once.replace(name, data, self._own_tag(lease), durable=False)
        return Lease(lease.key, lease.number, record, tag, lease.checkpoints)

    def _own_tag(self, lease: Lease) -> str:
        """The tag of our own record as an earlier renewal left it whose answer was lost.

        Raises:
            jobs.errors.Conflict: the record is another's, or gone.
        """
        try:
            stored = self._at_once.get(Paths.lease(lease.key))
        except NotFound:
            raise Conflict(f"the lease of {lease.key} is gone") from None
        record = _parse(stored)
        if record is None or record.holder != lease.record.holder:
            raise Conflict(f"another driver has taken over {lease.key}")
        return stored.tag

    def release(self, lease: Lease) -> None:
        """Give the lease back; one that another driver has taken over stays theirs."""
        with contextlib.suppress(Conflict):
            self._at_once.delete(Paths.lease(lease.key), lease.tag)

    def forget_silence(self) -> None:
        """Measure every holder's silence anew: while the store was away nobody could be heard."""
        self._seen.clear()

    def held(self) -> dict[str, LeaseRecord]:
        """Key -> record of every lease there is; some may have run out."""
        prefix = Paths.leases
        keys = [entry.name[len(prefix) :].removesuffix(".json") for entry in self._store.list(prefix)]
        records = ((key, self._read(key)) for key in keys)
        return {key: record for key, stored in records if stored and (record := _parse(stored))}

    def is_free(self, key: str) -> bool:
        """Whether the stage can be taken. A lease that has run out is removed; it takes one object, asked again and again, to tell."""
        held = self._read(key)
        if held is None:
            return True
        if not self._is_over(key, held):
            return False
        with contextlib.suppress(Conflict):  # somebody was quicker, to take it or to remove it
            self._store.delete(Paths.lease(key), held.tag)
        return True

    def _read(self, key: str) -> Stored | None:
        try:
            return self._timed(lambda: self._store.get(Paths.lease(key)))
        except NotFound:
            self._seen.pop(key, None)
            return None

    def _write(self, key: str, fence: int, last: int, tag: str | None) -> Lease:
        """Write our record: later than the last holder's and than the progress that is there."""
        number = max(int(self._wall() * 1000), last + 1, fence + 1)
        record = LeaseRecord(holder=Holder.me(), number=number)
        name, data = Paths.lease(key), record.to_bytes()
        if tag is None:
            new_tag = self._timed(lambda: self._store.create(name, data, durable=False))
        else:
            new_tag = self._timed(lambda: self._store.replace(name, data, tag, durable=False))
        self._seen.pop(key, None)
        return Lease(key, number, record, new_tag, checkpoints=fence > 0)

    def _timed(self, request: Callable[[], T]) -> T:
        """The answer of a request; the time that it was waited for is nobody's silence."""
        began = self._clock()
        try:
            return request()
        finally:
            self._deaf_s += max(0.0, self._clock() - began - ORDINARY_S)

    def _is_over(self, key: str, held: Stored) -> bool:
        record = _parse(held)
        if record is not None and record.holder.is_gone():
            return True
        now = self._clock() - self._deaf_s
        tag, since = self._seen.get(key, ("", now))
        if tag != held.tag:
            self._seen[key] = (held.tag, now)
            return False
        return now - since >= self.ttl


class LeaseKeeper:
    """Takes leases and keeps them alive from a thread of its own until they are released."""

    def __init__(self, leases: Leases, *, interval: float | None = None, notice: Callable[[str], None] | None = None) -> None:
        self._leases = leases
        self._interval = interval if interval is not None else leases.ttl / 4
        self._notice = notice or logging.getLogger("s2l").warning
        self._held: dict[str, Lease] = {}
        self._lost: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, key: str) -> Lease | None:
        """The lease, renewed until released; None while somebody else holds it."""
        lease = self._leases.take(key)
        if lease is not None:
            with self._lock:
                self._held[key] = lease
                self._lost.discard(key)
                self._start()
        return lease

    def release(self, lease: Lease) -> None:
        """Give it back; harmless when it was lost. A store out of reach is no reason to fail: the lease runs out."""
        with self._lock:
            current = self._held.get(lease.key)
            if current is None or current.number != lease.number:
                return
            del self._held[lease.key]
            try:
                self._leases.release(current)
            except OutOfReach as error:
                self._notice(f"the lease of {lease.key} could not be given back and will run out: {error}")

    def lost(self, lease: Lease) -> bool:
        """True when another driver has taken over."""
        return lease.key in self._lost

    def close(self) -> None:
        """Release all and stop the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for lease in list(self._held.values()):
            self.release(lease)

    def renew_all(self) -> None:
        """One heartbeat for every lease held; the thread does this."""
        for key in list(self._held):
            with self._lock:
                if key in self._held:
                    self._renew(key)

    def _renew(self, key: str) -> None:
        try:
            self._held[key] = self._leases.renew(self._held[key])
        except Conflict:
            del self._held[key]
            self._lost.add(key)
            self._notice(f"another driver has taken over {key}")
        except OutOfReach as error:
            self._notice(f"the lease of {key} could not be renewed: {error}")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self.renew_all()


def _parse(stored: Stored) -> LeaseRecord | None:
    try:
        return LeaseRecord.model_validate_json(stored.data)
    except ValidationError:
        return None


def _number(stored: Stored) -> int:
    record = _parse(stored)
    return record.number if record else 0
