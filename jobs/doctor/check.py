"""One finding of the doctor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jobs.errors import S2LError

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Check:
    """One finding; `mend` says what to do when the state is not ok, `node` on which node of the cluster (none: on this machine)."""

    name: str
    state: State
    found: str
    mend: str = ""
    node: str = ""


def attempt(name: str, where: str, probe: Callable[[], str], mend: str) -> Check:
    """Ok with the words of the probe, or failed with what it raised."""
    try:
        return Check(name, "ok", f"{where}: {probe()}")
    except S2LError as error:
        return Check(name, "failed", f"{where}: {error}", mend)


def free_space(free_gib: float, folder: str, node: str = "") -> Check:
    """Whether a folder's disk has room for a run's scratch files."""
    enough = free_gib > 2
    return Check("disk", "ok" if enough else "warning", f"{free_gib:.1f} GiB free at {folder}", "" if enough else _FULL, node)


_FULL = "a run may stop for want of space"
