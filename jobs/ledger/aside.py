"""Blobs on their way out: out of their place, and back in it when a manifest turns out to name them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor

from jobs.errors import AlreadyExists, NotFound
from jobs.ledger.blobs import SMALL
from jobs.ledger.ledger import Ledger
from jobs.store.protocol import Entry

_THREADS = 8
_MEMORY = 64 << 20
_LARGE = 64
"""How many bytes of a large blob count as one: it is not held in memory, but a bucket may bill the copy."""


class Aside:
    """Takes blobs out of a store and keeps their bytes until it is told what is wanted: small ones in memory, large ones in quarantine.

    A commit that finds a blob in the store relies on it. No store can remove a blob on condition that nobody has just begun to; but a
    commit looks for the blob once more after its manifest, so that one that relied in vain has a manifest by the time the blob is gone.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._store, self._quarantine = ledger.store, ledger.quarantine
        self._small: dict[str, bytes] = {}
        self._large: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._small) + len(self._large)

    def take(self, entries: Iterable[Entry]) -> None:
        """Out of their place."""
        self._each(self._take, entries)

    def settle(self, wanted: AbstractSet[str]) -> None:
        """Put back those of these names, unless they are there again by now; the others are gone for good."""
        self._each(lambda name: self._settle(name, wanted), [*self._small, *self._large])

    def _take(self, entry: Entry) -> None:
        if entry.size > SMALL:
            here = self._quarantine.set_aside(entry.name)
            if here is not None:
                self._large[entry.name] = here
            return
        with contextlib.suppress(NotFound):
            self._small[entry.name] = self._store.get(entry.name).data
            self._store.delete(entry.name)

    def _settle(self, name: str, wanted: AbstractSet[str]) -> None:
        data, here = self._small.get(name), self._large.get(name)
        if data is not None and name in wanted and hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]:
            with contextlib.suppress(AlreadyExists):
                self._store.create(name, data)
        if here is not None and name in wanted:
            self._quarantine.give_back(here, name)
        elif here is not None:
            self._store.delete(here)
        self._small.pop(name, None)
        self._large.pop(name, None)

    @staticmethod
    def _each(work: Callable[..., None], items: Iterable[object]) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(work, items))


def slices(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Blobs in an order in which folders stay together; one slice for each first digit, or more, so that each fits in memory."""
    found: list[list[Entry]] = []
    room, digit = 0, ""
    for entry in sorted(entries):
        weight = entry.size if entry.size <= SMALL else entry.size // _LARGE
        first = entry.name.split("/")[1][0]
        if first != digit or weight > room:
            found.append([])
            room, digit = _MEMORY, first
        found[-1].append(entry)
        room -= weight
    return found
