"""How much memory a stage took, for its manifest and for the choice of a share of a GPU."""

from __future__ import annotations

import resource
from typing import Any


def begin(device: str) -> None:
    """Count a GPU's memory from here."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()


def peaks(device: str) -> dict[str, Any]:
    """The process's largest memory so far, and, on a GPU, the largest that torch held there since `begin`."""
    found = {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if device.startswith("cuda"):
        import torch

        found["peak_gpu_memory_bytes"] = torch.cuda.max_memory_reserved()
    return found
