"""How one `fit` runs: optimiser, length, batches, precision."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from s2l_core.specs.base import Spec

Precision = Literal["fp32", "bf16", "fp16"]


class TrainSpec(Spec):
    """AdamW for a fixed number of steps; the effective batch is `batch_size`, however it is cut into micro-batches.

    Attributes:
        optimizer: `adamw`, or `adamw8bit` (moments in 8 bits, through bitsandbytes, on a GPU).
        schedule: after a linear warm-up: constant, a straight line to 0, or half a cosine to 0.
        ema: decay of an exponential moving average of the weights, which takes the weights' place at the end. It is lower in the first
            steps: (1 + k) / (10 + k) after k of them.
        snr_gamma: weighs each timestep's loss by min(SNR, gamma) / SNR (arXiv 2303.09556; for a UNet that predicts v by
            min(SNR, gamma) / (SNR + 1), for one that predicts the sample by min(SNR, gamma)); its usual value is 5.
    """

    steps: NonNegativeInt = 100
    batch_size: PositiveInt = 4
    lr: PositiveFloat = 1e-6
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: NonNegativeInt = 0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 1e-2
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    precision: Precision = "fp32"
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    snr_gamma: PositiveFloat | None = None
