"""Gradients of single examples, clipped and with noise on their sum; and Poisson samples of a set.

Each example passes alone through the shake's own loss, so that its gradient is exact for every layer and every loss there is (how that
compares with hooks on layers: docs/decisions/0008).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from s2l_core.defences.setup import Scene, Setup
from s2l_core.randomness import keyed_noise, keyed_uniforms
from s2l_core.training.accelerated import Accelerated
from s2l_core.training.batch import Batch, Loss, Sampler


class PrivateGradient:
    """A gradient rule: (sum of clipped gradients + noise) / expected batch size (arXiv 1607.00133, algorithm 1).

    The noise, normal with standard deviation noise_multiplier * clip, is keyed by (seed, fit, step, parameter): it is there in a step
    without a single example too, and a resumed fit draws the same again.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], *, clip: float, noise_multiplier: float, batch_size: int, fit: str = ""
    ) -> None:
        """Take `batch_size` for the expected size of a batch, and `fit` for the name of this one.

        Two fits with one seed and one name have the same noise: whoever has both models takes it out by subtracting.
        """
        self._parameters = parameters
        self._fit = fit
        self._clip = clip
        self._spread = noise_multiplier * clip
        self._batch_size = batch_size

    def __call__(self, run: Accelerated, loss: Loss, batch: Batch) -> float:
        sums = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in self._parameters.items()}
        total = 0.0
        for example in batch.pieces(1):
            with run.autocast():
                value = loss(example).float().sum()
            total += float(value.detach())
            run.backward(value)
            self._add_clipped(sums)
        loss_sum = torch.tensor([total], dtype=torch.float64)
        run.group.sum_([*sums.values(), loss_sum])  # before the noise, which is one for all processes: each draws the same
        for name, parameter in self._parameters.items():
            parameter.grad = self._noisy(sums[name], batch, name).to(parameter.dtype)
        return float(loss_sum) / self._batch_size

    @torch.no_grad()
    def _add_clipped(self, sums: Mapping[str, Tensor]) -> None:
        gradients = {name: parameter.grad.float() for name, parameter in self._parameters.items() if parameter.grad is not None}
        if not gradients:
            return
        norm = torch.stack([gradient.double().square().sum() for gradient in gradients.values()]).sum().sqrt()
        factor = (self._clip / norm).clamp(max=1.0)
        for name, gradient in gradients.items():
            sums[name].add_(gradient * factor.to(gradient))
            self._parameters[name].grad = None

    def _noisy(self, clipped: Tensor, batch: Batch, name: str) -> Tensor:
        if self._spread:
            drawn = keyed_noise(clipped.shape, "private-gradient", self._fit, batch.seed, batch.step, name)
            clipped = clipped + self._spread * drawn.to(clipped)
        return clipped / self._batch_size


def name_of_fit(setup: Setup, scene: Scene) -> str:
    """What tells one fit from another with its seed: its images, what is trained, and how."""
    specs = [scene.on.specs, setup.training]
    parts = [*(record.content for record in setup.terms[0].records), *map(repr, specs)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def poisson(examples: int, rate: float, seed: int, fit: str = "") -> Sampler:
    """A sampler that takes each example into each batch with probability `rate`, on its own: some batches are empty."""

    def chosen(step: int) -> Tensor:
        return (keyed_uniforms(examples, "poisson", fit, seed, step) < rate).nonzero().flatten()

    return chosen
