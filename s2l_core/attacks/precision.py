"""Membership scores are differences of nearly equal numbers: true fp32 or fp64, nothing that rounds on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

# torch's switches between IEEE fp32 and faster formats (TF32, bf16 passes), for products and convolutions.
SWITCHES: tuple[Any, ...] = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn,
    torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
)


@contextmanager
def exact_arithmetic(device_type: str) -> Iterator[None]:
    """No TF32 (in convolutions neither), no autocast, no gradients, no choice of kernels by timing; all restored at the end."""
    before = [switch.fp32_precision for switch in SWITCHES]
    benchmark = torch.backends.cudnn.benchmark
    try:
        for switch in SWITCHES:
            switch.fp32_precision = "ieee"
        torch.backends.cudnn.benchmark = False
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            for kind in {device_type, "cpu"}:
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        for switch, precision in zip(SWITCHES, before, strict=True):
            switch.fp32_precision = precision
