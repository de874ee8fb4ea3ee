"""A worker process that is told to leave by SIGTERM, the notice of schedulers that take a machine away; or that is ended for it hangs."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import threading
import time
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from jobs.execute.board import Place
from jobs.ledger.holder import Holder

if TYPE_CHECKING:
    from jobs.worker.state import Worker

EXIT_PREEMPTED = 143
"""The exit code of a worker that stopped at a checkpoint because it was told to leave: 128 + SIGTERM."""
STACKS_SIGNAL = signal.SIGUSR1
STACKS_WAIT_S = 2.0


class Notice:
    """Listens for SIGTERM. While a unit runs it stops at its next checkpoint; an idle worker ends at once."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.busy = False
        if threading.current_thread() is threading.main_thread():  # Python allows no other; Tune's actors run in it
            signal.signal(signal.SIGTERM, self._told)

    def _told(self, _signal: int, _frame: FrameType | None) -> None:
        self._worker.leaving.set()
        if not self.busy:
            leave()


def leave() -> None:
    """End this process at once: all that matters is in the store, and a slow end would be killed anyway."""
    os._exit(EXIT_PREEMPTED)


def stacks_on_request(scratch: Path) -> str:
    """The file into which this process writes the stacks of its threads when it gets STACKS_SIGNAL, also when it hangs in compiled code."""
    path = scratch / f"stacks-{os.getpid()}"
    file = path.open("w", encoding="utf-8")  # stays open for as long as the process: the handler writes to its descriptor
    faulthandler.register(STACKS_SIGNAL, file=file, all_threads=True)
    return str(path)


@cache
def place_here(stacks: str) -> Place:
    """Where this process runs. Ids of processes come again, soon in small containers; its holder is this one's alone."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    return Place(node, socket.gethostname(), os.getpid(), Holder.me().model_dump_json(), stacks)


def end_worker(place: Place) -> str:
    """Kill the process at a place, which must be on this host, and give its last stacks; nothing happens when it is gone already."""
    if Holder.model_validate_json(place.holder).is_gone():
        return ""
    os.kill(place.pid, STACKS_SIGNAL)
    stacks, deadline = Path(place.stacks), time.monotonic() + STACKS_WAIT_S
    while time.monotonic() < deadline and not (stacks.exists() and stacks.stat().st_size):
        time.sleep(0.1)
    time.sleep(0.1)  # until it is written to its end
    trace = stacks.read_text(encoding="utf-8", errors="replace") if stacks.exists() else ""
    os.kill(place.pid, signal.SIGKILL)
    return trace
