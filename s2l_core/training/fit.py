"""The one training loop. Base models, autoencoders and shakes are all fitted by it; what differs is the loss, and a loss is a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from s2l_core.randomness import generator, keyed_noise
from s2l_core.specs.training import TrainSpec
from s2l_core.training.accelerated import Accelerated
from s2l_core.training.checkpoint import load_checkpoint, save_checkpoint
from s2l_core.training.errors import NumericalFailure

Say = Callable[[float, str], None]


@dataclass(frozen=True)
class Batch:
    """A piece of one step's effective batch. All randomness is drawn for the whole batch and then cut, so that pieces change nothing.

    Attributes:
        step: from 0.
        indices: int64 [b], which examples.
        positions: int64 [b], where in the effective batch they stand.
        effective: size of the whole batch.
        seed: the fit's seed.
    """

    step: int
    indices: Tensor
    positions: Tensor
    effective: int
    seed: int

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

    def others(self, examples: int, name: str) -> Tensor:
        """Indices int64 [b] into another set of examples, in epochs of its own."""
        return examples_of(self.step, examples, self.effective, self.seed, name)[self.positions]


@dataclass
class Curve:
    """What happened, one entry a step."""

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)


class Checkpoint(Protocol):
    """Where a fit keeps its state; `due` says after which steps."""

    def load(self, into: Path) -> bool: ...

    def save(self, folder: Path) -> None: ...

    def due(self, step: int) -> bool: ...


Loss = Callable[[Batch], Tensor]
"""Per-example losses [b] of a piece of a batch."""


def fit(
    parameters: Mapping[str, nn.Parameter],
    loss: Loss,
    *,
    examples: int,
    training: TrainSpec,
    seed: int,
    device: str = "cpu",
    micro_batch: int | None = None,
    checkpoint: Checkpoint | None = None,
    say: Say = lambda fraction, words: None,
    observe: Callable[[int], None] | None = None,
) -> Curve:
    """Train the parameters in place for `training.steps` steps and return the curve.

    Args:
        parameters: what is trained, by name; float32 master weights.
        loss: per-example losses of a piece of a batch.
        examples: how many examples there are; each epoch is a permutation keyed by (seed, epoch).
        micro_batch: cut the effective batch into pieces of this size (less memory, the same result up to rounding; dropout, where there is
            any, draws other masks).
        checkpoint: resume from its newest state, and keep new ones; resumed = uninterrupted, to the bit on a CPU.
        observe: called after each step with the number of steps done.

    Raises:
        NumericalFailure: loss or gradient is not finite; names the step.
        ValueError: there is nothing to train or to train on, or the precision does not go with the device.
    """
    if examples < 1:
        raise ValueError(f"there is nothing to train on: got {examples} examples; allowed: at least 1")
    if micro_batch is not None and micro_batch < 1:
        raise ValueError(f"micro_batch is {micro_batch}; allowed: at least 1, or None for whole batches")
    curve = Curve()
    with Accelerated(list(parameters.values()), training, device) as run:
        start = load_checkpoint(checkpoint, parameters, run, curve) if checkpoint else 0
        for step in range(start, training.steps):
            lr = lr_at(step, training)
            value, norm = _one_step(run, loss, step, lr, examples, training, seed, micro_batch)
            _append(curve, step, value, lr, norm)
            say((step + 1) / training.steps, f"step {step + 1} of {training.steps}, loss {value:.4f}")
            if observe:
                observe(step + 1)
            if checkpoint and step + 1 < training.steps and checkpoint.due(step + 1):
                save_checkpoint(checkpoint, parameters, run, curve)
    return curve


def lr_at(step: int, training: TrainSpec) -> float:
    """The learning rate of a step: linear warm-up, then constant or half a cosine to 0."""
    if step < training.warmup_steps:
        return training.lr * (step + 1) / training.warmup_steps
    if training.schedule == "constant":
        return training.lr
    done = (step - training.warmup_steps) / max(1, training.steps - training.warmup_steps)
    return training.lr * 0.5 * (1.0 + math.cos(math.pi * done))


def examples_of(step: int, examples: int, batch: int, seed: int, name: str = "set") -> Tensor:
    """Which examples of a named set a step sees, int64 [batch]: epochs are permutations laid end to end."""
    first, last = step * batch, (step + 1) * batch
    epochs = range(first // examples, (last - 1) // examples + 1)
    stream = torch.cat([torch.randperm(examples, generator=generator("fit", "epoch", name, seed, epoch)) for epoch in epochs])
    offset = first - epochs[0] * examples
    return stream[offset : offset + batch]


def _one_step(
    run: Accelerated, loss: Loss, step: int, lr: float, examples: int, training: TrainSpec, seed: int, micro_batch: int | None
) -> tuple[float, float]:
    indices = examples_of(step, examples, training.batch_size, seed)
    positions = torch.arange(training.batch_size)
    size = micro_batch or training.batch_size
    total = 0.0
    with run.seeded(seed, step):
        for piece in torch.split(positions, size):
            batch = Batch(step, indices[piece], piece, training.batch_size, seed)
            with run.autocast():
                value = loss(batch).float().sum() / training.batch_size
            total += float(value.detach())
            if not math.isfinite(total):
                raise NumericalFailure(f"the loss is {total} at step {step}; try a lower learning rate (now {lr:g}) or fp32 precision")
            run.backward(value)
    return total, run.update(step, lr, training.clip_norm)


def _append(curve: Curve, step: int, loss: float, lr: float, norm: float) -> None:
    curve.step.append(step)
    curve.loss.append(loss)
    curve.lr.append(lr)
    curve.grad_norm.append(norm)
