"""Trying a stage, and trying it again by the class of its failure. What still fails becomes a record in the ledger."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from jobs.errors import Conflict, Corrupt, StoreLost
from jobs.ledger.failures import ErrorClass, Failure
from jobs.plan.graph import Node
from jobs.secrets import scrub
from jobs.worker.failures import WorkerOver, classify, spoils_process
from jobs.worker.state import UnitState

Compute = Callable[[Sequence[Node], int | None], None]
"""Computes and commits stages, in pieces of a batch of that size."""


@dataclass
class _Tries:
    """How often stages were tried, and in pieces of which size they are tried next."""

    micro_batch: int | None
    waits: Iterator[float]
    failed: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return sum(self.failed.values())


def try_stages(unit: UnitState, nodes: Sequence[Node], compute: Compute) -> None:
    """Compute stages that belong together, as often as the class of a failure allows.

    Raises:
        jobs.errors.StoreLost: the store was waited for in vain: there is nowhere to commit to, and nowhere to keep a failure.
        jobs.errors.Preempted: the machine is taken away.
        jobs.worker.failures.WorkerOver: this process must end.
    """
    waits = unit.worker.policy.transient.waits(nodes[0].key)
    left = _until_done(unit, list(nodes), _Tries(_first_size(unit, nodes), waits), compute)
    for node in left:  # together they fail: each alone, so that one that cannot work takes none with it
        try_stages(unit, [node], compute)


def _until_done(unit: UnitState, nodes: list[Node], tries: _Tries, compute: Compute) -> list[Node]:
    """Try until all is done or has failed; the stages that are to be tried one by one instead."""
    while True:
        try:
            compute(nodes, tries.micro_batch)
            return []
        except StoreLost:
            raise
        except WorkerOver as error:  # nobody is left to go on with
            unit.say(nodes[0].key, 0.0, f"{first_line(error)}; starting again")
            raise
        except Corrupt as error:
            _ask_for_parents(unit, nodes, error)
            return []
        except Conflict as error:  # the lease was lost: another driver has taken over
            unit.say(nodes[0].key, 0.0, f"taken over by another driver: {error}")
            unit.busy.extend(node.key for node in nodes if node.key not in unit.manifests)
            return []
        except Exception as error:
            if unit.worker.own_process and spoils_process(error):  # no failure of the stage alone: the next one would fail as well
                unit.say(nodes[0].key, 0.0, f"{first_line(error)}; starting again in another process")
                raise WorkerOver(first_line(error)) from error
            failure_class = classify(error)
            tries.failed[failure_class] += 1
            nodes = [node for node in nodes if not unit.adopt(node)]
            if not nodes:
                return []
            if tries.failed[failure_class] >= unit.worker.policy.tries(failure_class):
                if len(nodes) > 1 and failure_class != "transient":
                    return nodes
                _record(unit, nodes, failure_class, error, tries)
                return []
            _prepare(unit, nodes, failure_class, error, tries)


def _prepare(unit: UnitState, nodes: Sequence[Node], failure_class: str, error: Exception, tries: _Tries) -> None:
    """What is to be different in the next try."""
    told = f"{failure_class}: {first_line(error)}"
    if failure_class == "oom":
        tries.micro_batch = halved(tries.micro_batch or unit.worker.whole_batch(nodes[0].spec))
        told += f"; trying again in pieces of {tries.micro_batch}" if tries.micro_batch else "; trying again"
    elif failure_class == "transient":
        seconds = next(tries.waits, 0.0)
        unit.say(nodes[0].key, 0.0, f"{told}; trying again in {seconds:.0f} s")
        unit.worker.pause(seconds)
        return
    else:
        told += "; trying again"
    unit.say(nodes[0].key, 0.0, told)
    unit.worker.notes.append(f"{nodes[0].kind} {nodes[0].key[:12]}: {told}")


def _first_size(unit: UnitState, nodes: Sequence[Node]) -> int | None:
    """The pieces of a batch to begin with: whole, unless the user or lost workers say otherwise."""
    whole, asked = unit.worker.whole_batch(nodes[0].spec), unit.worker.micro_batch
    if whole is None:
        return None
    size = whole if asked is None else min(whole, asked)
    for _ in range(max(unit.order.halved.get(node.key, 0) for node in nodes)):
        size = max(1, size // 2)
    return None if size == whole else size


def halved(size: int | None) -> int | None:
    """Half the pieces; None where a stage has no batches."""
    return None if size is None else max(1, size // 2)


def _ask_for_parents(unit: UnitState, nodes: Sequence[Node], error: Corrupt) -> None:
    """A corrupt parent is no failure of its child: the next round makes it again."""
    unit.redo.extend(key for key in _parent_keys(nodes) if _gone(unit, key))
    unit.worker.notes.append(str(error))
    if not unit.redo:
        _record(unit, nodes, "data", error, _Tries(None, iter(()), Counter(data=1)))


def _parent_keys(nodes: Sequence[Node]) -> set[str]:
    return {parent.key for node in nodes for _, parent in node.parents}


def _gone(unit: UnitState, key: str) -> bool:
    """True when the parent we meant to read is in the ledger no more, or was made again meanwhile by another driver."""
    manifest = unit.manifests[key]
    if unit.worker.ledger.manifest(manifest.kind, key) != manifest:
        del unit.manifests[key]
        unit.worker.parents.forget(key)
        return True
    return False


def first_line(error: BaseException) -> str:
    """The first line of an error's message, free of secrets; its class where it has none."""
    return scrub((str(error).strip().splitlines() or [type(error).__name__])[0])


def _record(unit: UnitState, nodes: Sequence[Node], failure_class: ErrorClass, error: BaseException, tries: _Tries) -> None:
    trace = "".join(traceback.format_exception(error))
    for node in nodes:
        unit.failed[node.key] = (failure_class, first_line(error))
        unit.worker.ledger.record_failure(
            Failure(
                kind=node.kind,
                key=node.key,
                error_class=failure_class,
                message=str(error).strip() or type(error).__name__,
                traceback=trace,
                host=unit.worker.host,
                tries=len(tries),
                micro_batch=tries.micro_batch,
            )
        )
        unit.say(node.key, 0.0, f"failed ({failure_class}): {first_line(error)}")
