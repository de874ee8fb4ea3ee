"""What a loss is asked about: a piece of one step's batch, with all its randomness; and which examples a step sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s2l_core.randomness import generator, keyed_betas, keyed_noise


@dataclass(frozen=True)
class Batch:
    """A piece of one step's effective batch. All randomness is drawn for the whole batch and then cut, so that pieces change nothing.

    Attributes:
        step: from 0.
        indices: int64 [b], which examples.
        positions: int64 [b], where in the effective batch they stand.
        effective: size of the whole batch.
        seed: the fit's seed.
        population: of how many examples these were sampled, each on its own; None where they are a stretch of an epoch.
    """

    step: int
    indices: Tensor
    positions: Tensor
    effective: int
    seed: int
    population: int | None = None

    def noise(self, shape: Sequence[int], name: str = "noise") -> Tensor:
        """Standard normal float32 [b, *shape] on the CPU."""
        return keyed_noise((self.effective, *shape), "fit", name, self.seed, self.step)[self.positions]

    def integers(self, high: int, name: str = "timestep") -> Tensor:
        """Uniform int64 [b] in [0, high)."""
        drawn = torch.randint(high, (self.effective,), generator=generator("fit", name, self.seed, self.step))
        return drawn[self.positions]

    def uniform(self, name: str) -> Tensor:
        """Uniform float32 [b] in [0, 1)."""
        return torch.rand((self.effective,), generator=generator("fit", name, self.seed, self.step))[self.positions]

    def betas(self, alpha: float, name: str) -> Tensor:
        """Draws from Beta(alpha, alpha), float64 [b]."""
        return keyed_betas(alpha, self.effective, "fit", name, self.seed, self.step)[self.positions]

    def others(self, examples: int, name: str) -> Tensor:
        """Indices int64 [b] into another set of examples, in epochs of its own.

        Where examples are sampled, each draws its own companion, whoever else is in the batch: were they taken in turn, one example more
        would give others another companion, in this step and in all that follow, and clipping would not bound what one example does.
        """
        if self.population is not None:
            drawn = torch.randint(examples, (self.population,), generator=generator("fit", "companion", name, self.seed, self.step))
            return drawn[self.indices]
        return examples_of(self.step, examples, self.effective, self.seed, name)[self.positions]

    def share(self, rank: int, size: int) -> Batch:
        """What one of `size` processes has to do: a stretch of the batch, with the randomness that it has in the whole; perhaps empty."""
        part = slice(len(self.indices) * rank // size, len(self.indices) * (rank + 1) // size)
        return Batch(self.step, self.indices[part], self.positions[part], self.effective, self.seed, self.population)

    def pieces(self, size: int) -> Iterator[Batch]:
        """The batch in pieces of `size` examples, the last one perhaps smaller; none of an empty batch."""
        for start in range(0, len(self.indices), size):
            part = slice(start, start + size)
            yield Batch(self.step, self.indices[part], self.positions[part], self.effective, self.seed, self.population)


Loss = Callable[[Batch], Tensor]
"""Per-example losses [b] of a piece of a batch."""

Sampler = Callable[[int], Tensor]
"""Which examples a step sees, int64 [b]; b may differ from step to step, and be 0."""


def examples_of(step: int, examples: int, batch: int, seed: int, name: str = "set") -> Tensor:
    """Which examples of a named set a step sees, int64 [batch]: epochs are permutations laid end to end."""
    if not batch:
        return torch.empty(0, dtype=torch.int64)
    first, last = step * batch, (step + 1) * batch
    epochs = range(first // examples, (last - 1) // examples + 1)
    stream = torch.cat([torch.randperm(examples, generator=generator("fit", "epoch", name, seed, epoch)) for epoch in epochs])
    offset = first - epochs[0] * examples
    return stream[offset : offset + batch]
