"""The Tune trainable: a warm worker that runs one unit a trial. Normal failures are results, so that the actor is reused."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

from ray.tune import Trainable

from jobs.execute.board import is_open
from jobs.execute.order import WorkOrder
from jobs.execute.queue import Outcome
from jobs.worker.failures import WorkerOver, not_made
from jobs.worker.leaving import Notice, leave, place_here, stacks_on_request
from jobs.worker.stage_runner import Worker, run_order

LAST_NEWS_S = 10.0

_WORKER: Worker | None = None  # one per process: it outlives the trials that pass through the actor
_NOTICE: Notice | None = None
_STACKS = ""


class UnitTrainable(Trainable):  # type: ignore[misc]
    """Runs the order in `config["order"]` and reports its outcome as one result.

    Attributes:
        settings: of the worker (`jobs.worker.setup`), and the board that it tells its news to.
    """

    settings: ClassVar[Mapping[str, Any]] = {}

    def setup(self, config: dict[str, Any]) -> None:
        self._order = str(config.get("order", ""))
        self._board = self.settings.get("board")
        self._problem: Exception | None = None
        try:
            self._make_worker(config)
        except Exception as error:  # Tune would tell nobody: `step` does
            self._problem = error

    def _make_worker(self, config: Mapping[str, Any]) -> None:
        from jobs.worker.setup import make_worker
        from jobs.worker.team import Team

        global _WORKER, _NOTICE, _STACKS
        if _WORKER is not None:
            return
        shape = {name: config[name] for name in ("gpu_share", "processes") if name in config}
        worker = make_worker(dict(self.settings) | shape)
        worker.own_process = True
        if shape.get("processes", 1) > 1:
            worker.team = Team(dict(self.settings) | shape)
        _STACKS = stacks_on_request(Path(worker.scratch.root))
        _NOTICE = Notice(worker)
        _WORKER = worker

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._order = str(new_config["order"])
        return True

    def step(self) -> dict[str, Any]:
        place = place_here(_STACKS)
        if not is_open(self._board, place.node):  # it waited for its worker while the run was told to end, or not to use this node
            return {"put_off": True, "committed": 0, "done": True}
        order, run = WorkOrder.model_validate_json(self._order), uuid.uuid4().hex
        if self._problem is not None:
            self._tell_board("begin", run, order.unit, place)
            self._leave_word(run, replace(not_made(self._problem), node=place.node))
            raise self._problem  # this process is given no other unit: there may be nodes on which a worker can be made
        assert _WORKER is not None
        assert _NOTICE is not None
        _NOTICE.busy = True
        self._tell_board("begin", run, order.unit, place)
        try:
            outcome = replace(run_order(order, _WORKER, lambda *news: self._tell_board("tell", run, *news)), node=place.node)
        except WorkerOver:  # Tune ends the actor
            is_open(self._board, place.node)  # it answers when it has heard all that was said before
            raise
        if _WORKER.leaving.is_set():
            outcome = replace(outcome, preempted=True)
        if outcome.preempted:  # the driver learns it from the board: this process will not be here to answer
            self._leave_word(run, outcome)
            leave()
        self._tell_board("end", run)
        _NOTICE.busy = False
        return {"outcome": json.dumps(asdict(outcome)), "committed": len(outcome.committed), "done": True}

    def _leave_word(self, run: str, outcome: Outcome) -> None:
        """Return when the board knows what became of the unit."""
        import ray

        if self._board is not None:
            ray.get(self._board.leave.remote(run, json.dumps(asdict(outcome))), timeout=LAST_NEWS_S)

    def _tell_board(self, what: str, *news: Any) -> None:
        if self._board is not None:
            getattr(self._board, what).remote(*news)

    def cleanup(self) -> None:
        """The actor ends: what this host fetched is removed with the last worker that used it."""
        global _WORKER
        if _WORKER is not None:
            _WORKER.close()
            _WORKER = None

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: progress checkpoints are the stages' own, in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, likewise."""


def trainable_with(settings: Mapping[str, Any]) -> type[UnitTrainable]:
    """The trainable with a worker's settings.

    They travel with the class, which every node has from Ray's head, and not as an object of Ray's store: a worker on a node that had been
    cut off and came back was seen to wait for that without end.
    """
    return type(UnitTrainable.__name__, (UnitTrainable,), {"settings": dict(settings), "__doc__": UnitTrainable.__doc__})
