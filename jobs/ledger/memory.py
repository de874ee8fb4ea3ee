"""What a process knows of a store already: objects that never change, read once however many ask for them."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable

LIMIT = 128 << 20
"""Bytes: what is known of some 6,000 trials. What finds no room is read again."""
_LARGEST = 1 << 20
_BESIDE = 300
"""Bytes that an object takes beside its name and its own."""
_LOCKS = 64


class Memory:
    """Small objects by name, compressed. For several threads: who asks for an object that is being read waits for it.

    Args:
        limit: bytes that it may take; 0 keeps nothing.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit, self._used = limit, 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = [threading.Lock() for _ in range(_LOCKS)]

    def once(self, name: str, read: Callable[[], bytes | None]) -> bytes | None:
        """The object, from here or as it is read; what is read is kept while there is room for it.

        Args:
            read: the object, found right; None when there is none, which is not kept.
        """
        if not self._limit:
            return read()
        with self._reading[hash(name) % _LOCKS]:
            kept = self._kept.get(name)
            if kept is not None:
                return zlib.decompress(kept)
            data = read()
            if data is not None:
                self._keep(name, data, in_place_of_others=False)
            return data

    def learn(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Keep what whoever wrote it tells, in place of what was known of it, and of the oldest where there is no room."""
        for name, data in objects:
            self._keep(name, data, in_place_of_others=True)

    def forget(self, names: Iterable[str]) -> None:
        """What may be written anew is read again."""
        with self._lock:
            for name in names:
                self._drop(name)

    def _keep(self, name: str, data: bytes, *, in_place_of_others: bool) -> None:
        if len(data) > min(_LARGEST, self._limit):
            return
        kept = zlib.compress(data, 1)
        size = _size(name, kept)
        with self._lock:
            self._drop(name)
            while in_place_of_others and self._kept and self._used + size > self._limit:
                self._drop(next(iter(self._kept)))
            if self._used + size <= self._limit:
                self._kept[name] = kept
                self._used += size

    def _drop(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._used -= _size(name, kept)


def _size(name: str, kept: bytes) -> int:
    return len(name) + len(kept) + _BESIDE
