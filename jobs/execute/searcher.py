"""A Tune Searcher that hands out units that are ready, and never one that would wait while it holds a worker.

What FACTS of Tune 2.60 it respects: `suggest` that returns None while nothing runs blocks the driver for minutes, so that None is returned
only while a unit is running; `on_trial_complete` is called by keyword; `save` must not raise.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from jobs.execute.queue import Outcome, Queue
from jobs.execute.units import Unit


class ReadySearcher(Searcher):  # type: ignore[misc]
    """Suggests the next unit of a queue; tells the queue what became of it.

    Attributes:
        error: what went wrong in the driver with a unit's end; the run is to end with it.
    """

    def __init__(
        self,
        queue: Queue,
        order_of: Callable[[Unit], str],
        on_outcome: Callable[[Unit, Outcome], None],
        lost: Callable[[Unit, Outcome | None], Outcome | None],
        *,
        shape_of: Callable[[Unit], dict[str, Any]] = lambda unit: {},
    ) -> None:
        """
        Args:
            lost: told of a unit whose worker is gone, or (with an outcome) could not do it; gives what became of it, or None when it is to
                begin again.
        """
        super().__init__(metric="committed", mode="max")
        self._queue = queue
        self._order_of = order_of
        self._on_outcome = on_outcome
        self._lost = lost
        self._shape_of = shape_of
        self._units: dict[str, str] = {}
        self.error: Exception | None = None

    def suggest(self, trial_id: str) -> Any:
        if self.error is not None:
            return Searcher.FINISHED
        unit = self._queue.take()
        if unit is not None:
            self._units[trial_id] = unit.id
            return {"order": self._order_of(unit), **self._shape_of(unit)}
        return None if self._queue.running else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        unit_id = self._units.pop(trial_id, None)
        if unit_id is None:
            return
        try:
            self._complete(unit_id, result, error)
        except Exception as caught:  # Tune would log it, go on, and wait for ever for a unit that it has ended
            self.error = self.error or caught

    def _complete(self, unit_id: str, result: dict[str, Any] | None, error: bool) -> None:
        unit = self._queue.running[unit_id]
        if result and result.get("put_off"):
            self._queue.give_back(unit_id, begun=False)
            return
        given = Outcome(**json.loads(result["outcome"])) if result and "outcome" in result and not error else None
        outcome = self._lost(unit, given) if given is None or given.is_open else given
        if outcome is None or outcome.preempted:
            self._queue.give_back(unit_id)
        else:
            self._queue.finish(unit_id, outcome)
        if outcome is not None:
            self._on_outcome(unit, outcome)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles the searcher beside its snapshot; ours holds the driver's queue and is of no use elsewhere

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are never read by us."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a run is resumed from the ledger."""
