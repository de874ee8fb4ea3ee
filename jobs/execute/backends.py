"""The two ways to run a queue of units: in this process, or on Ray Tune."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from jobs.errors import OutOfReach
from jobs.execute.options import RunOptions
from jobs.execute.order import WorkOrder
from jobs.execute.placement import Shape
from jobs.execute.queue import Outcome, Queue
from jobs.execute.shapes import FixedShapes, NodeSize, ShapesByMemory, check_there_is_room, processes_of
from jobs.execute.units import Unit
from jobs.ledger.ledger import Ledger
from jobs.plan import Plan


class Running(Protocol):
    """What a backend needs of the run it works for."""

    plan: Plan
    ledger: Ledger
    options: RunOptions
    inputs: dict[str, str]

    def order_of(self, unit: Unit) -> str: ...

    def note(self, unit: Unit, outcome: Outcome) -> None: ...

    def say(self, key: str, fraction: float, words: str) -> None: ...

    def tell(self, words: str) -> None: ...

    def lost(self, unit: Unit) -> Outcome: ...


class LocalBackend:
    """Units one after the other in this process: a debugger works."""

    def __init__(self, run: Running, scratch: Path) -> None:
        self._run = run
        self._scratch = scratch
        self._worker: Any = None

    def __enter__(self) -> LocalBackend:
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            self._worker.leases.close()

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
            "scratch": str(self._scratch),
            "gpu_share": gpu_share,
            "gradient_checkpointing": options.gradient_checkpointing,
            "stages": options.stages,
            "device": options.device,
        }

    def run(self, queue: Queue) -> None:
        while (unit := queue.take()) is not None:
            self.run_here(queue, unit)


class RayBackend(LocalBackend):
    """Units on Ray Tune; those that read the driver's own folders still run here."""

    def __init__(
        self, run: Running, scratch: Path, session: ExitStack, slots: int, gpus: float, nodes: Sequence[NodeSize] | None = None
    ) -> None:
        """Take the slots and GPUs of the cluster, and of each of its nodes (by default there is one)."""
        super().__init__(run, scratch)
        self._nodes = nodes if nodes is not None else [(slots, gpus)]
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

        options = self._run.options
        asked = options.gpu_share
        wanted = options.device != "cpu" or options.gpu_memory is not None
        share = asked if asked is not None else float(self._gpus >= 1 and wanted)
        check_there_is_room(Shape(self._largest(queue), share), self._nodes)
        shapes = self._shapes(share)
        board = board_class().remote()
        reader = BoardReader(board, self._run.say)
        reader.start()
        setup = self._settings(share) | {"board": board}
        slots = self._slots if not share or isinstance(shapes, ShapesByMemory) else max(1, int(self._gpus / share))
        try:
            TuneBackend(slots=slots, order_of=self._run.order_of, setup=setup, shape_of=shapes.of, temp=self._scratch / "tune").run(
                queue, self._run.note, self._run.lost
            )
        finally:
            with undisturbed():
                reader.stop()

    def _largest(self, queue: Queue) -> int:
        """The processes of the unit that has most."""
        return max((processes_of(unit, self._run.options.processes) for unit in queue.waiting.values()), default=1)

    def _shapes(self, share: float) -> FixedShapes | ShapesByMemory:
        options = self._run.options
        if share and options.gpu_share is None:
            from jobs.execute.gpu_memory import smallest_gpu

            memory = options.gpu_memory or smallest_gpu()
            if memory:
                return ShapesByMemory(self._run.ledger, self._run.plan.nodes(), options, memory, self._run.tell)
            self._run.tell("nothing is known of the GPUs' memory, so each unit takes a whole one; say --gpu-memory or --gpu-share")
        return FixedShapes(share, options.processes)


def ray_backend(run: Running, scratch: Path) -> RayBackend:
    from cluster.ray_node import ray_session

    session = ExitStack()
    workers = run.options.workers or os.cpu_count() or 1
    try:
        slots = session.enter_context(ray_session(workers=workers, temp=scratch / "ray", address=run.options.address))
    except ConnectionError as error:
        raise OutOfReach(
            f"no Ray cluster answers at {run.options.address}: {error}; start one, or leave --address out to run on this machine"
        ) from error
    return RayBackend(run, scratch, session, slots.cpus, slots.gpus, _node_sizes())


def _node_sizes() -> list[NodeSize]:
    import ray

    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [(float(found.get("CPU", 0)), float(found.get("GPU", 0))) for found in alive]
