"""A store that outlasts an outage: every call is made again, with growing waits, before anybody above is told."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from jobs.errors import AlreadyExists, Conflict, NotFound, OutOfReach, StoreLost
from jobs.policy import Transient
from jobs.store.protocol import Entry, ObjectStore, Stored

T = TypeVar("T")
SILENT_S = 15.0
"""A request that took so long met an outage, or moved much: S3's client sends requests again by itself, for up to a minute and a half."""


class PatientStore:
    """Passes calls on to a store. What is computed is never thrown away because the store was away for a while: only the call waits.

    Args:
        policy: how often, and with which waits.
        say: told of every wait, in words.
        sleep: waits; raises `jobs.errors.Preempted` when there is no time left.
        after_outage: called when the store answers again, before anything else is asked of it; also where it was waited for by its own
            client, within one call.

    Raises:
        jobs.errors.StoreLost: (every method) the store does not answer, and was waited for.
    """

    def __init__(
        self,
        inner: ObjectStore,
        policy: Transient,
        *,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        after_outage: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inner = inner
        self.url = inner.url
        self._policy, self._say, self._sleep, self._after_outage = policy, say, sleep, after_outage
        self._clock = clock

    def get(self, name: str) -> Stored:
        return self._call(name, lambda _: self.inner.get(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes in order; after an outage in the middle what was given already is read over."""
        given = 0
        left = self._policy.waits(name)
        while True:
            passed = 0
            try:
                for chunk in self.inner.chunks(name):
                    new = chunk[max(0, given - passed) :]
                    passed += len(chunk)
                    if new:
                        given += len(new)
                        yield new
                return
            except OutOfReach as error:
                self._wait(error, left)

    def size(self, name: str) -> int | None:
        return self._call(name, lambda _: self.inner.size(name))

    def list(self, prefix: str) -> Iterator[Entry]:
        yield from self._call(prefix, lambda _: list(self.inner.list(prefix)))

    def create(self, name: str, data: bytes, *, durable: bool = True) -> str:
        def create(again: bool) -> str:
            try:
                return self.inner.create(name, data, durable=durable)
            except AlreadyExists:
                mine = self._own(name, data, again)
                if mine is None:
                    raise
                return mine

        return self._call(name, create)

    def replace(self, name: str, data: bytes, tag: str, *, durable: bool = True) -> str:
        def replace(again: bool) -> str:
            try:
                return self.inner.replace(name, data, tag, durable=durable)
            except Conflict:
                mine = self._own(name, data, again)
                if mine is None:
                    raise
                return mine

        return self._call(name, replace)

    def put_file(self, name: str, path: Path) -> None:
        self._call(name, lambda _: self.inner.put_file(name, path))

    def move(self, name: str, to: str) -> None:
        def move(again: bool) -> None:
            try:
                self.inner.move(name, to)
            except AlreadyExists:
                left = self.inner.size(name)
                if not again or left not in (None, self.inner.size(to)):
                    raise
                if left is not None:  # the copy was made, and its answer was lost
                    self.inner.delete(name)
            except NotFound:
                if not again or self.inner.size(to) is None:
                    raise

        self._call(name, move)

    def delete(self, name: str, tag: str | None = None) -> None:
        self._call(name, lambda _: self.inner.delete(name, tag))

    def _own(self, name: str, data: bytes, again: bool) -> str | None:
        """The object's tag if it is what an earlier try of ours wrote, whose answer was lost."""
        if again:
            with contextlib.suppress(NotFound):
                there = self.inner.get(name)
                if there.data == data:
                    return there.tag
        return None

    def _call(self, name: str, request: Callable[[bool], T]) -> T:
        """The answer of a request, which is told whether it is made again."""
        left: Iterator[float] | None = None
        while True:
            began = self._clock()
            try:
                answer = request(left is not None)
                if self._clock() - began >= SILENT_S:
                    self._after_outage()
                return answer
            except OutOfReach as error:
                left = self._policy.waits(name) if left is None else left
                self._wait(error, left)

    def _wait(self, error: OutOfReach, left: Iterator[float]) -> None:
        seconds = next(left, None) if error.passing else None
        if seconds is None:
            raise StoreLost(str(error), passing=error.passing) from error
        self._say(f"the store does not answer, trying again in {seconds:.0f} s: {error}")
        self._sleep(seconds)
        self._after_outage()
