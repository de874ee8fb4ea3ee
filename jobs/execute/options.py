"""How a plan is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobs.ledger.retention import Keep


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
        stages: the package with a file for each kind of stage; benchmarks of the driver put one in its place whose stages do nothing.
    """

    store: str
    workers: int | None = None
    local: bool = False
    address: str | None = None
    gpu_share: float | None = None
    keep: Keep = "all"
    gradient_checkpointing: bool = False
    stages: str = "jobs.stages"
    gpu_memory: int | None = None
    processes: int = 1
    device: Literal["auto", "cpu"] = "auto"
