"""Records of stages that failed: facts for `status` and `retry`, never a reason to lose what is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from jobs.errors import AlreadyExists, Conflict, NotFound
from jobs.ledger.paths import Paths
from jobs.secrets import scrub
from jobs.store.protocol import ObjectStore

ErrorClass = Literal["preempted", "hung", "transient", "oom", "numerical", "configuration", "data", "unknown", "blocked"]


class Failure(BaseModel):
    """One failed attempt at a stage, of as many tries as its class is given.

    Attributes:
        attempt: 1 for the first; given by the ledger when it is recorded.
        at: when it was recorded, in UTC; given by the ledger.
        tries: how often the stage was tried in this attempt; 0: not known.
        micro_batch: the size of the pieces that the last try cut the batch into; None: whole, or a stage without batches.
        cause: for `blocked`: (kind, key) of the parent that failed.
        tried_again: when `s2l retry` took the stage up again, in UTC; a record that has it is history and no longer says how things stand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    key: str
    attempt: NonNegativeInt = 0
    error_class: ErrorClass
    message: str
    traceback: str = ""
    host: str = ""
    at: str = ""
    tries: NonNegativeInt = 0
    micro_batch: PositiveInt | None = None
    cause: tuple[str, str] | None = None
    tried_again: str = ""


class Failures:
    """The failure records of a store."""

    def __init__(self, store: ObjectStore, notice: Callable[[str], None], wall: Callable[[], float] = time.time) -> None:
        self._store = store
        self._notice = notice
        self._wall = wall

    def record(self, failure: Failure) -> Failure:
        """Keep the failure, free of secrets, as the stage's next attempt; two writers never share a number."""
        attempt = max(self._attempts(failure.kind, failure.key), default=0) + 1
        clean = {"message": scrub(failure.message), "traceback": scrub(failure.traceback), "at": failure.at or self._now()}
        while True:
            numbered = failure.model_copy(update=clean | {"attempt": attempt})
            try:
                self._store.create(Paths.failure(failure.kind, failure.key, attempt), _bytes(numbered))
                return numbered
            except AlreadyExists:
                attempt += 1

    def all(self) -> list[Failure]:
        """Every attempt that failed, by kind, key and attempt."""
        found = (self._read(entry.name) for entry in self._store.list(Paths.failures))
        return sorted((failure for failure in found if failure), key=lambda failure: (failure.kind, failure.key, failure.attempt))

    def clear(self, kind: str, key: str) -> None:
        for attempt in self._attempts(kind, key):
            self._store.delete(Paths.failure(kind, key, attempt))

    def mark_tried_again(self, failure: Failure) -> None:
        """Note on a record that its stage is taken up again. It stays as history; one that changed meanwhile is left alone."""
        name = Paths.failure(failure.kind, failure.key, failure.attempt)
        try:
            stored = self._store.get(name)
            self._store.replace(name, _bytes(failure.model_copy(update={"tried_again": self._now()})), stored.tag)
        except (NotFound, Conflict):
            return

    def _now(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._wall()))

    def _attempts(self, kind: str, key: str) -> list[int]:
        stems = (entry.name.rpartition("/")[2].removesuffix(".json") for entry in self._store.list(Paths.failures_of(kind, key)))
        return [int(stem) for stem in stems if stem.isdigit()]

    def _read(self, name: str) -> Failure | None:
        try:
            return Failure.model_validate_json(self._store.get(name).data)
        except NotFound:
            return None
        except ValidationError:
            self._notice(f"{name} is no failure record; ignored")
            return None


def newest(failures: Iterable[Failure]) -> dict[str, Failure]:
    """Key of a stage -> its newest failure, unless that was taken up again since."""
    return {key: failure for key, failure in latest(failures).items() if not failure.tried_again}


def latest(failures: Iterable[Failure]) -> dict[str, Failure]:
    """Key of a stage -> its newest failure, also where that was taken up again since: whether anything came of it, the manifests say."""
    last: dict[str, Failure] = {}
    for failure in failures:
        if failure.key not in last or failure.attempt >= last[failure.key].attempt:
            last[failure.key] = failure
    return last


def _bytes(failure: Failure) -> bytes:
    return failure.model_dump_json(indent=1).encode()
