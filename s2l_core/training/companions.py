"""What goes along with a fit and is part of its checkpoints: it sees the weights after each step, and may end the fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn


class Companion(Protocol):
    """One companion of a fit. What it knows is its tensors alone, so that resumed = uninterrupted.

    Attributes:
        name: of its tensors in a checkpoint.
    """

    name: str

    def begin(self) -> None:
        """Called before the first step; not when a fit goes on from a checkpoint."""
        ...

    def after(self, step: int) -> bool:
        """Called with the number of steps done; True ends the fit."""
        ...

    def end(self) -> None:
        """Called once there are no more steps."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that it knows."""
        ...

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Know again what `tensors` gave."""
        ...


class Ema:
    """An exponential moving average of the weights in fp32, which takes their place at the end.

    After step k = 1, 2, ... the decay is min(decay, (1 + k) / (10 + k)): at first the average follows the weights closely, so that a short
    fit does not end near its start. It is the warm-up of diffusers' EMAModel one step ahead: that one copies the weights at its first step.
    """

    name = "ema"

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self._average: dict[str, Tensor] = {}

    @torch.no_grad()
    def begin(self) -> None:
        self._average = {name: parameter.detach().float().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def after(self, step: int) -> bool:
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            self._average[name].lerp_(parameter.detach().float(), 1 - decay)
        return False

    @torch.no_grad()
    def end(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(self._average[name])

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._average)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._average = {name: tensors[name].to(parameter.device) for name, parameter in self._parameters.items()}
