"""Records of stages that failed: facts for `status` and `retry`, never a reason to lose what is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from jobs.errors import AlreadyExists, NotFound
from jobs.ledger.paths import Paths
from jobs.store.protocol import ObjectStore

ErrorClass = Literal["preempted", "transient", "oom", "numerical", "configuration", "data", "unknown", "blocked"]


class Failure(BaseModel):
    """One failed attempt at a stage.

    Attributes:
        attempt: 1 for the first; given by the ledger when it is recorded.
        cause: for `blocked`: (kind, key) of the parent that failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    key: str
    attempt: NonNegativeInt = 0
    error_class: ErrorClass
    message: str
    traceback: str = ""
    host: str = ""
    cause: tuple[str, str] | None = None


class Failures:
    """The failure records of a store."""

    def __init__(self, store: ObjectStore, notice: Callable[[str], None]) -> None:
        self._store = store
        self._notice = notice

    def record(self, failure: Failure) -> Failure:
        """Keep the failure as the stage's next attempt; two writers never share a number."""
        attempt = max(self._attempts(failure.kind, failure.key), default=0) + 1
        while True:
            numbered = failure.model_copy(update={"attempt": attempt})
            try:
                self._store.create(Paths.failure(failure.kind, failure.key, attempt), numbered.model_dump_json(indent=1).encode())
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
