"""What memory a run adds at its highest, as this process itself accounts for it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path


def status_mb(name: str) -> float:
    """`VmRSS` (now) or `VmHWM` (the peak) in MB of 10^6 bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) / 1e6


def forget_peak() -> None:
    """From here on the peak is what comes: what was before, such as loading and warming up, does not count."""
    Path("/proc/self/clear_refs").write_text("5")


def added_mb(run: Callable[[], object]) -> float:
    """Resident memory in MB that a run adds at its highest; what was freed before it is given back first."""
    ctypes.CDLL(None).malloc_trim(0)
    forget_peak()
    before = status_mb("VmRSS")
    run()
    return status_mb("VmHWM") - before
