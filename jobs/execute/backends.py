"""The two ways to run a queue of units: in this process, or on Ray Tune."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any, Protocol

from jobs.errors import InputError, OutOfReach
from jobs.execute.options import RunOptions
from jobs.execute.order import WorkOrder
from jobs.execute.queue import Outcome, Queue
from jobs.execute.units import Unit
from jobs.execute.warm import Scratch


class Running(Protocol):
    """What a backend needs of the run it works for."""

    options: RunOptions
    inputs: dict[str, str]

    def order_of(self, unit: Unit) -> str: ...

    def note(self, unit: Unit, outcome: Outcome) -> None: ...

    def say(self, key: str, fraction: float, words: str) -> None: ...

    def lost(self, unit: Unit) -> Outcome: ...


class LocalBackend:
    """Units one after the other in this process: a debugger works."""

    def __init__(self, run: Running, scratch: Scratch) -> None:
        self._run = run
        self._scratch = scratch
        self._worker: Any = None

    def __enter__(self) -> LocalBackend:
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            self._worker.close()

    def run_here(self, queue: Queue, unit: Unit) -> None:
        from jobs.execute.stage_runner import run_order
        from jobs.execute.worker_setup import make_worker

        if self._worker is None:
            self._worker = make_worker(self._settings(self._run.options.gpu_share))
        outcome = run_order(WorkOrder.of(unit, self._run.inputs), self._worker, self._run.say)
        queue.finish(unit.id, outcome)
        self._run.note(unit, outcome)

    def _settings(self, gpu_share: float | None) -> dict[str, Any]:
        options = self._run.options
        return {
            "store": options.store,
            "scratch": self._scratch.root.name,
            "gpu_share": gpu_share,
            "gradient_checkpointing": options.gradient_checkpointing,
            "stages": options.stages,
        }

    def run(self, queue: Queue) -> None:
        while (unit := queue.take()) is not None:
            self.run_here(queue, unit)


class RayBackend(LocalBackend):
    """Units on Ray Tune; those that read the driver's own folders still run here."""

    def __init__(self, run: Running, scratch: Scratch, session: ExitStack, slots: int, gpus: float) -> None:
        super().__init__(run, scratch)
        self._session = session
        self._slots = slots
        self._gpus = gpus

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self._session.close()

    def run(self, queue: Queue) -> None:
        from cluster.ray_node import undisturbed
        from jobs.execute.progress import BoardReader, board_class
        from jobs.execute.tune_backend import TuneBackend

        asked = self._run.options.gpu_share
        share = asked if asked is not None else float(self._gpus >= 1)
        if share > self._gpus:  # Tune would wait for them without end
            raise InputError(f"a trial is to take {share:g} GPUs, and there are {self._gpus:g}; leave --gpu-share out, or make it smaller")
        board = board_class().remote()
        reader = BoardReader(board, self._run.say)
        reader.start()
        setup = self._settings(share) | {"board": board}
        slots = max(1, int(self._gpus / share)) if share else self._slots
        try:
            TuneBackend(slots=slots, order_of=self._run.order_of, setup=setup, gpu_share=share, temp=self._scratch.root / "tune").run(
                queue, self._run.note, self._run.lost
            )
        finally:
            with undisturbed():
                reader.stop()


def ray_backend(run: Running, scratch: Scratch) -> RayBackend:
    from cluster.ray_node import ray_session

    session = ExitStack()
    workers = run.options.workers or os.cpu_count() or 1
    try:
        slots = session.enter_context(ray_session(workers=workers, temp=scratch.root / "ray", address=run.options.address))
    except ConnectionError as error:
        raise OutOfReach(
            f"no Ray cluster answers at {run.options.address}: {error}; start one, or leave --address out to run on this machine"
        ) from error
    return RayBackend(run, scratch, session, slots.cpus, slots.gpus)
