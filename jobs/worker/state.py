"""What a worker process holds from one unit to the next, and the state of the unit that it runs."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import Preempted
from jobs.execute.order import WorkOrder
from jobs.ledger.leases import LeaseKeeper
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.plan.graph import Node
from jobs.policy import RetryPolicy
from jobs.stages.contract import CHECKPOINT_EVERY_S
from jobs.stages.specs import StageSpec
from jobs.worker.warm import Manifests, Scratch, Warm

if TYPE_CHECKING:
    from jobs.worker.team import Team

Say = Callable[[str, float, str], None]
"""(stage key, fraction done, a few words)"""


@dataclass
class Worker:
    """What a worker process holds from one unit to the next.

    Attributes:
        ledger: one that waits while its store is away (`jobs.ledger.patient`), so that nothing computed is lost to an outage.
        policy: what is tried again.
        micro_batch: the largest pieces that batches are computed in; None: whole batches.
        checkpoint_every_s: how often stages that can resume keep a checkpoint.
        leaving: set when this process was told that its machine is taken away.
        team: the further processes of a worker whose shakes are trained by several.
        own_process: whether this process is there for units alone and may end, so that another takes its place; the driver's may not.
        tell: passes a few words on about the stage that runs; also the sign that the worker lives while it waits.
    """

    ledger: Ledger
    scratch: Scratch
    leases: LeaseKeeper
    device: str = "cpu"
    warm: Warm = field(default_factory=Warm)
    parents: Manifests = field(default_factory=Manifests)
    host: str = ""
    gradient_checkpointing: bool = False
    stages: str = "jobs.stages"
    notes: list[str] = field(default_factory=list)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    micro_batch: int | None = None
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    leaving: threading.Event = field(default_factory=threading.Event)
    tell: Callable[[str], None] = lambda words: None
    team: Team | None = None
    own_process: bool = False

    def close(self) -> None:
        """Give leases and scratch folder back."""
        self.leases.close()
        self.scratch.close()

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            jobs.errors.Preempted: there is no time to wait: the machine is taken away.
        """
        if self.leaving.wait(seconds):
            raise Preempted

    def module(self, kind: str) -> Any:
        """The file of a kind of stage."""
        return importlib.import_module(f"{self.stages}.{kind}")

    def whole_batch(self, spec: StageSpec) -> int | None:
        """How many examples a stage computes at once where nobody asks for fewer; None for a stage that has no batches."""
        training = getattr(spec, "training", None)
        if training is not None:
            return -(-int(training.batch_size) // (self.team.size if self.team else 1))
        found = getattr(self.module(str(spec.kind)), "BATCH_SIZE", None)  # type: ignore[attr-defined]
        return None if found is None else int(found)


@dataclass
class UnitState:
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
    made_here: dict[str, Path] = field(default_factory=dict)

    def adopt(self, node: Node) -> bool:
        """Whether the stage is committed, by whomever; its manifest is at hand then."""
        manifest = self.worker.ledger.manifest(node.kind, node.key)
        if manifest is None:
            return False
        self.manifests[node.key] = manifest
        return True
