"""One unit on one worker: fetch parents, compute, commit, stage by stage. The same code in the driver's process and in a Ray actor."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

from jobs.errors import Preempted, StoreLost
from jobs.execute.order import WorkOrder, node_of, parse_spec
from jobs.execute.queue import Outcome
from jobs.ledger.leases import Lease
from jobs.ledger.manifest import digest_of, payloads_in
from jobs.ledger.paths import Paths
from jobs.ledger.progress import StoredProgress
from jobs.plan.graph import Node
from jobs.secrets import scrub
from jobs.stages.contract import StageJob
from jobs.stages.specs import ScoreStage
from jobs.worker.failures import WorkerOver, spoils_process, verdict_on
from jobs.worker.peaks import begin, peaks
from jobs.worker.state import Say, UnitState, Worker
from jobs.worker.tries import first_line, try_stages

__all__ = ["Worker", "run_order"]


def run_order(order: WorkOrder, worker: Worker, say: Say) -> Outcome:
    """Run a unit's stages and commit each. A failed stage becomes a ledger record; its children in the unit are not tried.

    Raises:
        jobs.worker.failures.WorkerOver: this process must end.
        Exception: (in the driver's own process) an error outside of the stages, such as a parent written by a newer S2L.
    """
    started = time.perf_counter()
    unit = UnitState(worker, order, say)
    at, preempted, unreached, broken = order.stages[0].key, False, "", dict[str, Any]()
    try:
        for group in _groups(order):
            at = order.stages[group[0]].key
            _run_group(unit, group)
    except Preempted:
        preempted = True
    except StoreLost as error:  # nothing can be committed or recorded: the driver must know
        unreached = scrub(str(error))
    except Exception as error:
        if not worker.own_process or isinstance(error, WorkerOver):
            raise
        if spoils_process(error):
            say(at, 0.0, f"{first_line(error)}; starting again in another process")
            raise WorkerOver(first_line(error)) from error
        broken = verdict_on(error, at)
    finally:
        worker.tell = lambda words: None
        for out in unit.made_here.values():
            shutil.rmtree(out.parent, ignore_errors=True)
    inside = [stage.key for stage in order.stages]
    committed = tuple(key for key in inside if key in unit.manifests)
    notes = tuple(dict.fromkeys(scrub(note) for note in worker.notes))
    worker.notes.clear()
    seconds = time.perf_counter() - started
    lists = tuple(unit.busy), tuple(unit.redo), notes
    manifests = {Paths.manifest(made.kind, made.key): made.to_bytes().decode() for made in (unit.manifests[key] for key in committed)}
    return Outcome(committed, tuple(unit.ran), unit.failed, *lists, preempted, unreached, seconds, broken, manifests=manifests)


def _run_group(unit: UnitState, group: Sequence[int]) -> None:
    key = unit.order.stages[group[0]].key
    unit.worker.tell = lambda words: unit.say(key, 0.0, scrub(words))
    if unit.worker.leaving.is_set():
        raise Preempted
    nodes = [node for node in (_node(unit, index) for index in group) if node is not None]
    if nodes:
        _run_leased(unit, nodes)


def _groups(order: WorkOrder) -> Iterator[list[int]]:
    """Indices of stages that run together: scores of the same model and data share their network calls, whoever chose their attacks."""
    together: dict[tuple[Any, ...], list[int]] = {}
    for index, stage in enumerate(order.stages):
        shared = tuple(parent for parent in stage.parents if parent[0] in ScoreStage.shared)
        name: tuple[Any, ...] = ("score", shared) if stage.spec["kind"] == "score" else (index,)
        together.setdefault(name, []).append(index)
    yield from together.values()


def _node(unit: UnitState, index: int) -> Node | None:
    """The stage's node with its parents' manifests at hand; None when a parent is not there."""
    stage = unit.order.stages[index]
    for _, kind, key in stage.parents:
        if key in unit.manifests:
            continue
        if any(other.key == key for other in unit.order.stages):
            return None  # a parent inside the unit failed or is busy
        manifest = unit.worker.parents.get(unit.worker.ledger, kind, key)
        if manifest is None:
            unit.redo.append(key)
            return None
        unit.manifests[key] = manifest
        unit.nodes[key] = Node(parse_spec(manifest.spec), (), key)
    node = node_of(stage, unit.nodes)
    unit.nodes[stage.key] = node
    return node


def _run_leased(unit: UnitState, nodes: list[Node]) -> None:
    with ExitStack() as stack:
        held: dict[str, Lease] = {}
        for node in nodes:
            lease = unit.worker.leases.take(node.key)
            if lease is None:
                if not unit.adopt(node):  # committed, and its holder is gone
                    unit.busy.append(node.key)
                continue
            stack.callback(unit.worker.leases.release, lease)
            if not unit.adopt(node):  # committed by another driver since the plan was made
                held[node.key] = lease
        todo = [node for node in nodes if node.key in held]
        if todo:
            try_stages(unit, todo, lambda nodes, micro_batch: _compute(unit, nodes, held, micro_batch))


def _compute(unit: UnitState, nodes: Sequence[Node], leases: dict[str, Lease], micro_batch: int | None) -> None:
    worker = unit.worker
    folder = worker.scratch.new("out-")
    try:
        jobs = [_job(unit, node, folder / node.key[:16], leases[node.key], micro_batch) for node in nodes]
        module = worker.module(nodes[0].kind)
        begin(worker.device)
        started, clock = time.time(), time.perf_counter()
        if len(jobs) > 1:
            module.run_fused(jobs)
        else:
            with _together(unit, nodes[0], jobs[0]) as job:
                module.run(job)
        seconds = time.perf_counter() - clock
        for node, job in zip(nodes, jobs, strict=True):
            variant = {"micro_batch": micro_batch} if micro_batch else {}
            if node.kind == "shake" and job.gradient_checkpointing:
                variant["gradient_checkpointing"] = True
            made = _made(worker, started, seconds / len(jobs)) | variant | job.made
            parents = {parent.key: unit.manifests[parent.key] for _, parent in node.parents}
            left = leases[node.key].checkpoints or not isinstance(job.progress, StoredProgress) or job.progress.used
            unit.manifests[node.key] = worker.ledger.commit(node, job.out, parents=parents, made=made, checkpoints=left)
            _keep_for_children(unit, node, job.out)
            unit.ran.append(node.key)
            unit.say(node.key, 1.0, "committed")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _together(unit: UnitState, node: Node, job: StageJob) -> AbstractContextManager[StageJob]:
    """The job, with all processes of the worker where it has several and the stage trains."""
    team = unit.worker.team
    if team is None or node.kind != "shake":
        return nullcontext(job)
    stage = next(stage for stage in unit.order.stages if stage.key == node.key)
    return team.joined(job, stage, {key: unit.manifests[key].digest for _, _, key in stage.parents})


def _keep_for_children(unit: UnitState, node: Node, out: Path) -> None:
    """Let the unit's later stages read what was just made where it lies, until the unit ends: no other unit needs it as often."""
    if not any(key == node.key for stage in unit.order.stages for _, _, key in stage.parents):
        return
    if digest_of(payloads_in(out)) == unit.manifests[node.key].digest:  # not what another writer committed first
        unit.made_here[node.key] = out.rename(unit.worker.scratch.new("made-") / "out")


def _job(unit: UnitState, node: Node, out: Path, lease: Lease, micro_batch: int | None) -> StageJob:
    worker = unit.worker
    out.mkdir(parents=True)
    folders = {parent.key: _folder_of(unit, parent) for _, parent in node.parents}
    parents = tuple((role, parent.key, folders[parent.key]) for role, parent in node.parents)
    return StageJob(
        spec=node.spec,
        key=node.key,
        parents=parents,
        out=out,
        progress=worker.ledger.progress(node.key, lease.number),
        cache=worker.warm,
        device=worker.device,
        say=_telling(unit, node),
        inputs={content: Path(path) for content, path in unit.order.inputs.items()},
        micro_batch=micro_batch,
        gradient_checkpointing=worker.gradient_checkpointing,
        checkpoint_every_s=worker.checkpoint_every_s,
        leaving=worker.leaving.is_set,
    )


def _folder_of(unit: UnitState, parent: Node) -> Path:
    return unit.made_here.get(parent.key) or unit.worker.scratch.folder_of(unit.manifests[parent.key], unit.worker.ledger)


def _telling(unit: UnitState, node: Node) -> Callable[[float, str], None]:
    """Passes on how far a stage is. A stage that cannot resume is left there and then when the machine is taken away."""
    resumes = bool(getattr(unit.worker.module(node.kind), "RESUMES", False))

    def say(fraction: float, words: str) -> None:
        unit.say(node.key, fraction, scrub(words))
        if not resumes and unit.worker.leaving.is_set():
            raise Preempted

    return say


def _made(worker: Worker, started: float, seconds: float) -> dict[str, Any]:
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "host": worker.host,
        "device": worker.device,
        "seconds": round(seconds, 3),
        **peaks(worker.device),
    }
