"""The Tune trainable: a warm worker that runs one unit a trial. Normal failures are results, so that the actor is reused."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ray.tune import Trainable

from jobs.execute.order import WorkOrder
from jobs.execute.stage_runner import Worker, run_order

_WORKER: Worker | None = None  # one per process: it outlives the trials that pass through the actor


class UnitTrainable(Trainable):  # type: ignore[misc]
    """Runs the order in `config["order"]` and reports its outcome as one result."""

    def setup(self, config: dict[str, Any], setup: dict[str, Any] | None = None) -> None:
        from jobs.execute.worker_setup import make_worker

        global _WORKER
        if _WORKER is None:
            _WORKER = make_worker(setup or {})
        self._order = str(config.get("order", ""))
        self._board = (setup or {}).get("board")

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._order = str(new_config["order"])
        return True

    def step(self) -> dict[str, Any]:
        assert _WORKER is not None
        outcome = run_order(WorkOrder.model_validate_json(self._order), _WORKER, self._say)
        return {"outcome": json.dumps(asdict(outcome)), "committed": len(outcome.committed), "done": True}

    def _say(self, key: str, fraction: float, words: str) -> None:
        if self._board is not None:
            self._board.tell.remote(key, fraction, words)

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
