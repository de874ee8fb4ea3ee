"""The optimisers a fit can ask for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from s2l_core.specs.training import TrainSpec


def optimizer_for(parameters: Sequence[nn.Parameter], training: TrainSpec, device: torch.device) -> torch.optim.Optimizer:
    """AdamW, its moments in 32 or in 8 bits.

    Raises:
        ValueError: 8 bits are asked for on a CPU, or bitsandbytes is not installed.
    """
    if training.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=training.lr, betas=training.betas, eps=training.eps, weight_decay=training.weight_decay, fused=True
        )
    if device.type == "cpu":
        raise ValueError("optimizer adamw8bit needs a GPU; on a CPU use optimizer adamw")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise ValueError(
            "optimizer adamw8bit needs bitsandbytes, which is not installed; install it (`pip install s2l[8bit]`), or use optimizer adamw"
        ) from error
    made: torch.optim.Optimizer = AdamW8bit(
        parameters, lr=training.lr, betas=training.betas, eps=training.eps, weight_decay=training.weight_decay
    )
    return made
