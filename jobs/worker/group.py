"""Opening the process group of one data-parallel stage: a meeting place at rank 0's address, then gloo or NCCL between all.

Both listen on the node's own address in Ray and on no other, for as long as the stage runs.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from jobs.worker.failures import WorkerOver
from s2l_core.training.errors import GroupBroken
from s2l_core.training.group import TorchGroup

CONNECT_S = 120
"""How long processes that are all alive may take to find each other."""
STEP_S = 1800
"""How long one may keep the others waiting, as it loads a model or rank 0 stores a checkpoint. A process that ends is noticed at once."""


class RankLost(WorkerOver):
    """A process of the trial has ended or does not answer: the unit starts again with new ones, as after any worker's death."""


@dataclass(frozen=True)
class Meeting:
    """Where the processes of one group find each other.

    Attributes:
        backend: `gloo`, or `nccl` where each process has a GPU of its own.
    """

    host: str
    port: int
    size: int
    backend: str


def backend_for(device: str, gpu_share: float) -> str:
    """NCCL refuses two processes on one GPU; gloo carries sums of such processes through the CPU."""
    return "nccl" if device.startswith("cuda") and gpu_share >= 1 else "gloo"


def open_meeting(host: str, size: int, backend: str) -> tuple[Meeting, Any]:
    """A meeting place at `host`, and the store that must be kept for as long as it is used."""
    from torch._C._distributed_c10d import TCPStore

    listening = socket.create_server((host, 0), family=_family(host), backlog=4 * size)
    port = listening.getsockname()[1]
    store = TCPStore(  # given a socket of ours, because it would bind every address of the machine
        host, port, size, True, timeout=timedelta(seconds=CONNECT_S), wait_for_workers=False,
        master_listen_fd=listening.detach(), use_libuv=False,
    )  # fmt: skip
    return Meeting(host, port, size, backend), store


def find_meeting(meeting: Meeting, within_s: float = CONNECT_S) -> Any:
    """The store of a meeting that another process has opened.

    Raises:
        GroupBroken: it is not there any more.
    """
    from torch._C._distributed_c10d import TCPStore

    try:
        return TCPStore(
            meeting.host, meeting.port, meeting.size, False, timeout=timedelta(seconds=within_s), wait_for_workers=False, use_libuv=False
        )
    except RuntimeError as error:
        raise GroupBroken(f"the first process of this fit is not at {meeting.host}:{meeting.port} any more") from error


@contextmanager
def in_group(store: Any, meeting: Meeting, rank: int, host: str) -> Iterator[TorchGroup]:
    """The group, while it lasts; it is broken for the others when this process leaves.

    Args:
        host: this process's own address.

    Raises:
        GroupBroken: the others did not come.
    """
    try:
        group = _nccl(store, meeting, rank) if meeting.backend == "nccl" else _gloo(store, meeting, rank, host)
    except RuntimeError as error:
        raise GroupBroken(f"process {rank + 1} of {meeting.size} of this fit did not find the others within {CONNECT_S} s") from error
    try:
        yield group
    finally:
        group.leave()


def _gloo(store: Any, meeting: Meeting, rank: int, host: str) -> TorchGroup:
    from torch.distributed import ProcessGroupGloo

    options: Any = ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    options._timeout = timedelta(seconds=STEP_S)
    options._devices = [ProcessGroupGloo.create_device(hostname=host)]
    return TorchGroup(ProcessGroupGloo(store, rank, meeting.size, options))


def _nccl(store: Any, meeting: Meeting, rank: int) -> TorchGroup:
    from torch.distributed import ProcessGroupNCCL

    options = ProcessGroupNCCL.Options()
    options._timeout = timedelta(seconds=STEP_S)
    return TorchGroup(ProcessGroupNCCL(store, rank, meeting.size, options), "cuda:0")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
