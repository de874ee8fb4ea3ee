"""One unit on one worker: fetch parents, compute, commit, stage by stage. The same code in the driver's process and in a Ray actor."""

from __future__ import annotations

import importlib
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import Conflict, Corrupt
from jobs.execute.failures import classify, retries
from jobs.execute.order import WorkOrder, node_of, parse_spec
from jobs.execute.queue import Outcome
from jobs.execute.warm import Scratch, Warm
from jobs.graph import Node
from jobs.ledger.failures import Failure
from jobs.ledger.leases import Lease, LeaseKeeper
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.stages.contract import StageJob
from jobs.stages.specs import ScoreStage

Say = Callable[[str, float, str], None]
"""(stage key, fraction done, a few words)"""

BACKOFF_S = 2.0


@dataclass
class Worker:
    """What a worker process holds from one unit to the next."""

    ledger: Ledger
    scratch: Scratch
    leases: LeaseKeeper
    device: str = "cpu"
    warm: Warm = field(default_factory=Warm)
    host: str = ""
    gradient_checkpointing: bool = False
    stages: str = "jobs.stages"
    notes: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Give leases and scratch folder back."""
        self.leases.close()
        self.scratch.close()


@dataclass
class _Unit:
    """The state of one unit while it runs."""

    worker: Worker
    order: WorkOrder
    say: Say
    nodes: dict[str, Node] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    busy: list[str] = field(default_factory=list)
    redo: list[str] = field(default_factory=list)


def run_order(order: WorkOrder, worker: Worker, say: Say) -> Outcome:
    """Run a unit's stages and commit each. A failed stage becomes a ledger record; its children in the unit are not tried."""
    unit = _Unit(worker, order, say)
    for group in _groups(order):
        nodes = [node for node in (_node(unit, index) for index in group) if node is not None]
        todo = [node for node in nodes if not _adopt(unit, node)]
        if todo:
            _run_leased(unit, todo)
    inside = [stage.key for stage in order.stages]
    committed = tuple(key for key in inside if key in unit.manifests)
    notes = tuple(dict.fromkeys(worker.notes))
    worker.notes.clear()
    return Outcome(committed, tuple(unit.ran), unit.failed, tuple(unit.busy), tuple(unit.redo), notes)


def _groups(order: WorkOrder) -> Iterator[list[int]]:
    """Indices of stages that run together: scores of the same model and data share their network calls, whoever chose their attacks."""
    together: dict[tuple[Any, ...], list[int]] = {}
    for index, stage in enumerate(order.stages):
        shared = tuple(parent for parent in stage.parents if parent[0] in ScoreStage.shared)
        name: tuple[Any, ...] = ("score", shared) if stage.spec["kind"] == "score" else (index,)
        together.setdefault(name, []).append(index)
    yield from together.values()


def _node(unit: _Unit, index: int) -> Node | None:
    """The stage's node with its parents' manifests at hand; None when a parent is not there."""
    stage = unit.order.stages[index]
    for _, kind, key in stage.parents:
        if key in unit.manifests:
            continue
        if any(other.key == key for other in unit.order.stages):
            return None  # a parent inside the unit failed or is busy
        manifest = unit.worker.ledger.manifest(kind, key)
        if manifest is None:
            unit.redo.append(key)
            return None
        unit.manifests[key] = manifest
        unit.nodes[key] = Node(parse_spec(manifest.spec), (), key)
    node = node_of(stage, unit.nodes)
    unit.nodes[stage.key] = node
    return node


def _adopt(unit: _Unit, node: Node) -> bool:
    manifest = unit.worker.ledger.manifest(node.kind, node.key)
    if manifest is None:
        return False
    unit.manifests[node.key] = manifest
    return True


def _run_leased(unit: _Unit, nodes: list[Node]) -> None:
    with ExitStack() as stack:
        held: dict[str, Lease] = {}
        for node in nodes:
            lease = unit.worker.leases.take(node.key)
            if lease is None:
                unit.busy.append(node.key)
                continue
            stack.callback(unit.worker.leases.release, lease)
            if not _adopt(unit, node):  # committed by another driver between the look and the lease
                held[node.key] = lease
        todo = [node for node in nodes if node.key in held]
        if todo:
            _try(unit, todo, held)


def _try(unit: _Unit, nodes: list[Node], leases: dict[str, Lease]) -> None:
    """Compute with retries by class of failure."""
    tries: dict[str, int] = {}
    micro_batch: int | None = None
    while True:
        try:
            _compute(unit, nodes, leases, micro_batch)
            return
        except Corrupt as error:
            unit.redo.extend(key for key in _parent_keys(nodes) if _gone(unit, key))
            unit.worker.notes.append(str(error))
            if not unit.redo:
                _record(unit, nodes, "data", error)
            return
        except Conflict as error:  # the lease was lost: another driver has taken over
            unit.say(nodes[0].key, 0.0, f"taken over by another driver: {error}")
            unit.busy.extend(node.key for node in nodes if node.key not in unit.manifests)
            return
        except Exception as error:
            failure_class = classify(error)
            tries[failure_class] = tries.get(failure_class, 0) + 1
            nodes = [node for node in nodes if not _adopt(unit, node)]
            if not nodes:
                return
            if tries[failure_class] > retries(failure_class):
                if len(nodes) == 1 or failure_class == "transient":
                    _record(unit, nodes, failure_class, error)
                    return
                break
            micro_batch = _smaller(unit.worker, nodes, micro_batch) if failure_class == "oom" else micro_batch
            unit.say(nodes[0].key, 0.0, f"{failure_class}: {_first_line(error)}; trying again")
            if failure_class == "transient":
                time.sleep(BACKOFF_S * 2 ** (tries[failure_class] - 1))
    for node in nodes:  # together they fail: each alone, so that one that cannot work takes none with it
        _try(unit, [node], leases)


def _parent_keys(nodes: Sequence[Node]) -> set[str]:
    return {parent.key for node in nodes for _, parent in node.parents}


def _gone(unit: _Unit, key: str) -> bool:
    """True when the parent we meant to read is in the ledger no more, or was made again meanwhile by another driver."""
    manifest = unit.manifests[key]
    if unit.worker.ledger.manifest(manifest.kind, key) != manifest:
        del unit.manifests[key]
        return True
    return False


def _smaller(worker: Worker, nodes: Sequence[Node], micro_batch: int | None) -> int:
    training = getattr(nodes[0].spec, "training", None)
    whole = training.batch_size if training is not None else getattr(_module(worker, nodes[0].kind), "BATCH_SIZE", 2)
    return max(1, (micro_batch or whole) // 2)


def _module(worker: Worker, kind: str) -> Any:
    return importlib.import_module(f"{worker.stages}.{kind}")


def _compute(unit: _Unit, nodes: Sequence[Node], leases: dict[str, Lease], micro_batch: int | None) -> None:
    worker = unit.worker
    folder = worker.scratch.new("out-")
    try:
        jobs = [_job(unit, node, folder / node.key[:16], leases[node.key], micro_batch) for node in nodes]
        module = _module(worker, nodes[0].kind)
        started, clock = time.time(), time.perf_counter()
        if len(jobs) > 1:
            module.run_fused(jobs)
        else:
            module.run(jobs[0])
        seconds = time.perf_counter() - clock
        for node, job in zip(nodes, jobs, strict=True):
            variant = {"micro_batch": micro_batch} if micro_batch else {}
            if node.kind == "shake" and job.gradient_checkpointing:
                variant["gradient_checkpointing"] = True
            made = _made(worker, started, seconds / len(jobs)) | variant | job.made
            parents = {parent.key: unit.manifests[parent.key] for _, parent in node.parents}
            unit.manifests[node.key] = worker.ledger.commit(node, job.out, parents=parents, made=made)
            unit.ran.append(node.key)
            unit.say(node.key, 1.0, "committed")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _job(unit: _Unit, node: Node, out: Path, lease: Lease, micro_batch: int | None) -> StageJob:
    worker = unit.worker
    out.mkdir(parents=True)
    folders = {parent.key: worker.scratch.folder_of(unit.manifests[parent.key], worker.ledger) for _, parent in node.parents}
    parents = tuple((role, parent.key, folders[parent.key]) for role, parent in node.parents)
    return StageJob(
        spec=node.spec,
        key=node.key,
        parents=parents,
        out=out,
        progress=worker.ledger.progress(node.key, lease.number),
        cache=worker.warm,
        device=worker.device,
        say=lambda fraction, words: unit.say(node.key, fraction, words),
        inputs={content: Path(path) for content, path in unit.order.inputs.items()},
        micro_batch=micro_batch,
        gradient_checkpointing=worker.gradient_checkpointing,
    )


def _made(worker: Worker, started: float, seconds: float) -> dict[str, Any]:
    import resource

    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "host": worker.host,
        "device": worker.device,
        "seconds": round(seconds, 3),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _record(unit: _Unit, nodes: Sequence[Node], failure_class: str, error: BaseException) -> None:
    trace = "".join(traceback.format_exception(error))
    for node in nodes:
        unit.failed[node.key] = (failure_class, _first_line(error))
        unit.worker.ledger.record_failure(
            Failure(
                kind=node.kind,
                key=node.key,
                error_class=failure_class,
                message=str(error).strip() or type(error).__name__,
                traceback=trace,
                host=unit.worker.host,
            )
        )
        unit.say(node.key, 0.0, f"failed ({failure_class}): {_first_line(error)}")
