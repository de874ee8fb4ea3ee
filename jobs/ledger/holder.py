"""Who holds a lease: a process, told apart from every other, so that one on this machine that has died is known to be dead."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_PROC = Path("/proc")


class Holder(BaseModel):
    """One take of a lease by one process.

    Attributes:
        boot: this boot of this machine and process namespace; empty where it cannot be told.
        started: the process's start time in clock ticks since boot.
        take: different for every take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    boot: str
    pid: int
    started: int
    take: str

    @classmethod
    def me(cls) -> Holder:
        """This process, for a new take."""
        pid = os.getpid()
        return cls(host=socket.gethostname(), boot=_boot(), pid=pid, started=_start_time(pid) or 0, take=uuid.uuid4().hex)

    def is_gone(self) -> bool:
        """True only when the process is known to be dead: it was on this machine in this boot, and is there no more."""
        if not self.boot or (self.host, self.boot) != (socket.gethostname(), _boot()):
            return False
        return _start_time(self.pid) != self.started


def _boot() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _start_time(pid: int) -> int | None:
    """Clock ticks since boot; None for a process that is not there, or dead and not yet collected."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
