"""A store that fails on command: what is left in it must make sense at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from jobs.errors import OutOfReach
from jobs.store.protocol import Entry, ObjectStore, Stored

T = TypeVar("T")


class FailingStore:
    """Passes calls on and counts them; from the chosen call on the store is out of reach.

    Args:
        fail_at: number of the first call that fails, from 1; None: never.
        only: names of the methods that are counted and fail; empty: all.
        lost_answer: the failing call is carried out and only its answer is lost.
        once: later calls work again.
    """

    def __init__(
        self, inner: ObjectStore, *, fail_at: int | None = None, only: tuple[str, ...] = (), lost_answer: bool = False, once: bool = False
    ) -> None:
        self.inner = inner
        self.url = inner.url
        self.calls: list[str] = []
        self.fail_at = fail_at
        self._only = only
        self._lost_answer = lost_answer
        self._once = once

    def get(self, name: str) -> Stored:
        lost = self._count("get", name)
        return self._answer(self.inner.get(name), lost)

    def chunks(self, name: str) -> Iterator[bytes]:
        lost = self._count("chunks", name)
        for chunk in self.inner.chunks(name):
            yield self._answer(chunk, lost)

    def size(self, name: str) -> int | None:
        lost = self._count("size", name)
        return self._answer(self.inner.size(name), lost)

    def list(self, prefix: str) -> Iterator[Entry]:
        lost = self._count("list", prefix)
        yield from self._answer(tuple(self.inner.list(prefix)), lost)

    def create(self, name: str, data: bytes, *, durable: bool = True) -> str:
        lost = self._count("create", name)
        return self._answer(self.inner.create(name, data, durable=durable), lost)

    def replace(self, name: str, data: bytes, tag: str, *, durable: bool = True) -> str:
        lost = self._count("replace", name)
        return self._answer(self.inner.replace(name, data, tag, durable=durable), lost)

    def put_file(self, name: str, path: Path) -> None:
        lost = self._count("put_file", name)
        self._answer(self.inner.put_file(name, path), lost)

    def move(self, name: str, to: str) -> None:
        lost = self._count("move", name)
        self._answer(self.inner.move(name, to), lost)

    def delete(self, name: str, tag: str | None = None) -> None:
        lost = self._count("delete", name)
        self._answer(self.inner.delete(name, tag), lost)

    def _count(self, method: str, name: str) -> bool:
        """True when this call's answer is to be lost."""
        if self._only and method not in self._only:
            return False
        self.calls.append(f"{method} {name}")
        number = len(self.calls)
        fails = self.fail_at is not None and (number == self.fail_at or (number > self.fail_at and not self._once))
        if fails and not self._lost_answer:
            raise OutOfReach(f"told to fail at call {number}: {method} {name}")
        return fails

    def _answer(self, answer: T, lost: bool) -> T:
        if lost:
            raise OutOfReach("told to lose the answer")
        return answer


class Meanwhile(FailingStore):
    """Just before the first call that is `call`, somebody else does something."""

    def __init__(self, inner: ObjectStore, call: str, action: Callable[[], object]) -> None:
        super().__init__(inner)
        self._call = call
        self._action: Callable[[], object] | None = action

    def _count(self, method: str, name: str) -> bool:
        action = self._action
        if action is not None and f"{method} {name}" == self._call:
            self._action = None
            action()
        return super()._count(method, name)
