"""How a plan is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jobs.execute.limits import Limits
from jobs.ledger.retention import Keep
from jobs.stages.contract import CHECKPOINT_EVERY_S


@dataclass(frozen=True)
class RunOptions:
    """How a plan is run; nothing here changes a key or a result.

    Attributes:
        store: the store's URL, opened anew by every worker.
        workers: CPU slots of a private Ray (None: one a core).
        local: run in this process, without Ray.
        address: a running Ray cluster to use instead.
        gpu_share: GPUs of one process of a unit; None: chosen by what it needs (jobs/execute/placement.py), 0 where there are none.
        gpu_memory: bytes of the smallest GPU; None: the cluster's nodes are asked.
        processes: of a unit that trains a shake.
        device: "cpu": compute there also where there are GPUs.
        keep: which weights stay in the store when all that hangs on them is committed (jobs.ledger.retention).
        gradient_checkpointing: shakes hold less in memory and compute more.
        micro_batch: the largest pieces that batches are computed in; None: whole batches, until memory runs out.
        checkpoint_every_s: how often stages that can resume keep a checkpoint: what a kill costs at most, as far as they are concerned.
        limits: what the run may use, and when it ends.
        stages: the package with a file for each kind of stage; benchmarks of the driver put one in its place whose stages do nothing.
    """

    store: str
    workers: int | None = None
    local: bool = False
    address: str | None = None
    gpu_share: float | None = None
    keep: Keep = "all"
    gradient_checkpointing: bool = False
    limits: Limits = field(default_factory=Limits)
    stages: str = "jobs.stages"
    micro_batch: int | None = None
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    gpu_memory: int | None = None
    processes: int = 1
    device: Literal["auto", "cpu"] = "auto"
