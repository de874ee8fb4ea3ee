"""The two ways to run a queue of units: in this process, or on Ray Tune."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from jobs.errors import OutOfReach, StoreLost
from jobs.execute.avoided import Avoided, nodes_of_ray
from jobs.execute.judged import judged
from jobs.execute.limits import Gate
from jobs.execute.losses import LONGEST_LAST_WORDS, Losses, Verdict
from jobs.execute.options import RunOptions
from jobs.execute.order import WorkOrder
from jobs.execute.over import Over
from jobs.execute.queue import Outcome, Queue
from jobs.execute.remote import beside_driver, end_remotely, node_lives
from jobs.execute.units import Unit
from jobs.ledger.ledger import Ledger
from jobs.placement.estimate import Shape
from jobs.placement.shapes import FixedShapes, NodeSize, ShapesByMemory, check_there_is_room, has_room, in_words, processes_of
from jobs.plan.plan import Plan
from jobs.policy import RetryPolicy
from jobs.secrets import scrub
from jobs.worker.warm import Scratch

if TYPE_CHECKING:
    from jobs.execute.board import BoardReader, Story
    from jobs.worker.state import Worker


class Running(Protocol):
    """What a backend needs of the run it works for."""

    plan: Plan
    ledger: Ledger
    options: RunOptions
    inputs: dict[str, str]
    policy: RetryPolicy
    halved: Mapping[str, int]
    gate: Gate

    def order_of(self, unit: Unit) -> str: ...

    def note(self, unit: Unit, outcome: Outcome) -> None: ...

    def say(self, key: str, fraction: float, words: str) -> None: ...

    def tell(self, text: str) -> None: ...

    def stands(self, unit: Unit) -> frozenset[str]: ...

    def give_up(self, unit: Unit, verdict: Verdict) -> Outcome: ...

    def reach_store(self) -> None: ...


class LocalBackend:
    """Units one after the other in this process: a debugger works."""

    def __init__(self, run: Running, scratch: Scratch) -> None:
        self._run = run
        self._scratch = scratch
        self._worker: Worker | None = None

    def __enter__(self) -> LocalBackend:
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            self._worker.close()

    def run_here(self, queue: Queue, unit: Unit) -> None:
        from jobs.worker.stage_runner import run_order

        outcome = run_order(WorkOrder.of(unit, self._run.inputs), self._made(), self._run.say)
        if outcome.unreached:
            raise StoreLost(outcome.unreached)
        queue.finish(unit.id, outcome)
        self._run.note(unit, outcome)

    def _made(self) -> Worker:
        from jobs.worker.setup import make_worker

        if self._worker is None:
            self._worker = make_worker(self._settings(self._share_here()))
        return self._worker

    def _share_here(self) -> float | None:
        return self._run.options.gpu_share

    def _settings(self, gpu_share: float | None) -> dict[str, Any]:
        options = self._run.options
        return {
            "store": options.store,
            "scratch": self._scratch.root.name,
            "gpu_share": gpu_share,
            "gradient_checkpointing": options.gradient_checkpointing,
            "stages": options.stages,
            "retry": self._run.policy.model_dump(),
            "micro_batch": options.micro_batch,
            "checkpoint_every_s": options.checkpoint_every_s,
            "device": options.device,
        }

    def run(self, queue: Queue) -> None:
        share = self._run.options.gpu_share
        self._run.gate.offer(gpus=(1.0 if share is None else share) if self._made().device != "cpu" else 0.0, slots=1)
        while (unit := queue.take()) is not None:
            self.run_here(queue, unit)


class RayBackend(LocalBackend):
    """Units on Ray Tune; those that read the driver's own folders still run here."""

    def __init__(
        self, run: Running, scratch: Scratch, session: ExitStack, slots: int, gpus: float, nodes: Sequence[NodeSize] | None = None
    ) -> None:
        """Take the slots and GPUs of the cluster, and of each of its nodes (by default there is one)."""
        super().__init__(run, scratch)
        self._losses = Losses(run.policy, node_lives)
        run.halved = self._losses.halved
        self._avoided = Avoided(run.policy.node.lost, nodes_of_ray, run.tell)
        self._nodes = nodes if nodes is not None else [(slots, gpus)]
        self._session = session
        self._slots = slots
        self._gpus = gpus

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self._session.close()

    def _share_here(self) -> float | None:
        """None of a GPU: here folders are only read and copied, often on a machine without one."""
        return 0.0

    def run(self, queue: Queue) -> None:
        from cluster.ray_node import undisturbed
        from jobs.execute.board import BoardReader, board_class
        from jobs.execute.tune_backend import TuneBackend

        options = self._run.options
        asked = options.gpu_share
        wanted = options.device != "cpu" or options.gpu_memory is not None
        share = asked if asked is not None else float(self._gpus >= 1 and wanted)
        largest = Shape(self._largest(queue), share)
        self._look_for_room(largest)
        self._avoided.fits(lambda sizes: has_room(largest, list(sizes)))
        shapes = self._shapes(share)
        slots = max(1, self._slots if not share or isinstance(shapes, ShapesByMemory) else int(self._gpus / share))
        self._run.gate.offer(gpus=largest.gpus, slots=slots, of=lambda unit: shapes.of(unit).gpus)
        board = beside_driver(board_class())
        reader = BoardReader(
            board,
            self._run.say,
            closed=self._run.gate.is_closed,
            avoided=lambda: self._avoided.names,
            hung_after_s=self._run.policy.hung.after_s,
            end_worker=end_remotely,
            say=self._run.tell,
        )
        reader.start()
        setup = self._settings(share) | {"board": board}
        try:
            tune = TuneBackend(
                slots=slots,
                order_of=self._run.order_of,
                setup=setup,
                shape_of=shapes.of,
                temp=self._scratch.root / "tune",
                avoided=lambda: self._avoided.names,
            )
            stranded = True
            while stranded:  # what waits for other nodes than there are must be asked for anew
                over = Over(self._run.gate, reader, self._avoided)
                tune.run(queue, self._note, lambda unit, outcome: self._lost(unit, outcome, reader), over)
                stranded = over.stranded
                self._run.gate.avoided = self._avoided.told
        finally:
            with undisturbed():
                reader.stop()

    def _note(self, unit: Unit, outcome: Outcome) -> None:
        self._losses.worked |= bool(outcome.ran)
        if outcome.ran:
            self._avoided.worked(outcome.node)
        self._run.note(unit, outcome)

    def _look_for_room(self, largest: Shape) -> None:
        """Refuse what cannot run, unless the cluster has no worker at all: one that grows gets its first ones when units wait."""
        if any(cpus for cpus, _ in self._nodes):
            check_there_is_room(largest, self._nodes)
        else:
            self._run.tell(f"no node has a CPU to give; waiting for one that has room for {in_words(largest)}")

    def _lost(self, unit: Unit, outcome: Outcome | None, reader: BoardReader) -> Outcome | None:
        """What became of a unit whose worker is gone, or could not do it; None when it is to begin again."""
        if outcome is not None:
            return self._judged(unit, outcome)
        story = reader.story(unit.id)
        if story is not None and story.left:
            outcome = Outcome(**json.loads(story.left))
            if not outcome.preempted:
                return self._judged(unit, outcome)
            return self._left(unit, outcome, story)
        verdict = self._losses.lost(unit, story)
        if story is not None and node_lives(story.place.node):
            self._lost_on(story.place.node, unit, story.words)
        if verdict is not None:
            return self._run.give_up(unit, verdict)
        self._run.tell(f"a worker was lost{_where(story)}; its unit begins again ({self._losses.told(unit)})")
        return None

    def _judged(self, unit: Unit, outcome: Outcome) -> Outcome | None:
        """What became of a unit that its worker could not do; a fault of the input or of a parent says nothing of the node."""
        found = judged(self._run, self._losses, unit, outcome)
        if outcome.broken.get("error_class") not in ("configuration", "data"):
            self._lost_on(outcome.node, unit, outcome.wrong or outcome.unreached or str(outcome.broken.get("message", "")))
        return found

    def _lost_on(self, node: str, unit: Unit, why: str) -> None:
        """Processes of one unit may lie on several nodes: nobody knows which was the cause."""
        if not node or processes_of(unit, self._run.options.processes) > 1:
            return
        self._avoided.lost(node, unit.id, scrub(" ".join(why.split()))[:LONGEST_LAST_WORDS])
        self._run.gate.avoided = self._avoided.told

    def _left(self, unit: Unit, outcome: Outcome, story: Story) -> Outcome:
        """What became of a unit whose worker was told to leave; an outcome that is `preempted` when it goes on elsewhere."""
        who = f"the worker {story.place.pid} on {story.place.host} was told to leave"
        verdict = self._losses.told_to_leave(unit, story, self._run.stands(unit))
        if verdict is None:
            self._run.tell(f"{who}; its unit goes on elsewhere")
            return outcome
        given_up = self._run.give_up(unit, verdict)
        return replace(outcome, preempted=False, committed=given_up.committed, failed=outcome.failed | given_up.failed)

    def _largest(self, queue: Queue) -> int:
        """The processes of the unit that has most."""
        return max((processes_of(unit, self._run.options.processes) for unit in queue.waiting.values()), default=1)

    def _shapes(self, share: float) -> FixedShapes | ShapesByMemory:
        options = self._run.options
        if share and options.gpu_share is None:
            from jobs.placement.gpu_memory import smallest_gpu

            memory = options.gpu_memory or smallest_gpu()
            if memory:
                return ShapesByMemory(self._run.ledger, self._run.plan.nodes(), options, memory, self._run.tell)
            self._run.tell("nothing is known of the GPUs' memory, so each unit takes a whole one; say --gpu-memory or --gpu-share")
        return FixedShapes(share, options.processes)


def _where(story: Story | None) -> str:
    if story is None:
        return ""
    return f" on {story.place.host}" + (f" at: {story.words}" if story.words else "")


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
    return RayBackend(run, scratch, session, slots.cpus, slots.gpus, _node_sizes())


def _node_sizes() -> list[NodeSize]:
    import ray

    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [(float(found.get("CPU", 0)), float(found.get("GPU", 0))) for found in alive]
