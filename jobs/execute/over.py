"""When a run's Tuner is to end although units were handed out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from jobs.execute.avoided import Avoided
from jobs.execute.limits import Gate

CLOSED_S = 10.0
"""How long news of a unit may take that began just before nothing was to begin any more; so often the nodes are looked at."""


class Reader(Protocol):
    """Who hears of the units that run."""

    def runs_nothing(self) -> bool: ...


class Over:
    """True when nothing runs, and what waits for a worker is to wait no longer: nothing may begin any more, and each would be put off
    whenever its worker came; or all nodes that it may run on are gone.

    Attributes:
        stranded: it was for the nodes.
    """

    def __init__(self, gate: Gate, reader: Reader, avoided: Avoided, clock: Callable[[], float] = time.monotonic) -> None:
        self._gate, self._reader, self._avoided, self._clock = gate, reader, avoided, clock
        self._closed: float | None = None
        self._looked = float("-inf")
        self.stranded = False

    def __call__(self) -> bool:
        now = self._clock()
        if self._gate.is_closed():
            self._closed = now if self._closed is None else self._closed
            return now - self._closed >= CLOSED_S and self._reader.runs_nothing()
        if not self.stranded and now - self._looked >= CLOSED_S and self._reader.runs_nothing():
            self._looked = now
            self.stranded = self._avoided.stranded()
        return self.stranded
