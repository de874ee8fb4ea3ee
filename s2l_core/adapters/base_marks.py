"""Numbers by which the base that adapters were made for is known again, whatever precision it is loaded in."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import keyed_noise

PER_MODULE = 3
LARGEST = 1 << 20
"""Elements of a weight that is looked at: drawing a direction of that size takes milliseconds."""
DIGITS = 6
"""Sums of so many numbers differ in their last digits from one kind of CPU to another, and equal adapters are to be equal bytes."""
SAME = 3e-3
"""Rounding to 8 bits of mantissa turns a weight by about 1e-3; fine-tuning that anybody would notice, by more."""


@torch.no_grad()
def marks_of(model: StableDiffusion) -> dict[str, float]:
    """For some weights of each module, spread over its depth: how far they go along a direction drawn by their name, in units of length.

    For weights that have nothing to do with each other it is a standard normal number.
    """
    marks = {}
    for module, network in model.modules().items():
        matrices = [(name, weight) for name, weight in network.named_parameters() if weight.ndim > 1 and weight.numel() <= LARGEST]
        for index in sorted({round(step * (len(matrices) - 1) / (PER_MODULE - 1)) for step in range(PER_MODULE)} if matrices else ()):
            name, weight = matrices[index]
            marks[f"{module}.{name}"] = _along(weight, f"{module}.{name}")
    return marks


def _along(weight: Tensor, name: str) -> float:
    values = weight.detach().cpu().double().numpy()
    length = math.sqrt(float(np.square(values).sum()))
    along = float((values * keyed_noise(values.shape, "base-mark", name).numpy()).sum())
    return round(along / length, DIGITS) if length else 0.0


def check_same_base(saved: Mapping[str, float], model: Mapping[str, float]) -> None:
    """Refuse another base.

    Raises:
        ValueError: a weight is missing or lies in another direction; the text names the first.
    """
    for name, mark in saved.items():
        if name not in model:
            raise ValueError(f"the weights are for another base model: the model has no {name}")
        if abs(mark - model[name]) > SAME:
            raise ValueError(
                f"the weights are for another base model: their {name} is not the model's; load the base that the shake was made on"
            )
