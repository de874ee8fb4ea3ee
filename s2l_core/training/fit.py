"""The one training loop. Base models, autoencoders and shakes are all fitted by it; what differs is the loss, and a loss is a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from s2l_core.specs.training import TrainSpec
from s2l_core.training.accelerated import Accelerated
from s2l_core.training.batch import Batch, Loss, Sampler, examples_of
from s2l_core.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from s2l_core.training.companions import Companion, Ema
from s2l_core.training.curve import Curve
from s2l_core.training.errors import NumericalFailure
from s2l_core.training.gradient import GradientRule, MeanGradient
from s2l_core.training.group import ALONE, Group, agreed

__all__ = ["Batch", "Checkpoint", "Curve", "Loss", "Say", "examples_of", "fit", "lr_at"]

Say = Callable[[float, str], None]


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
    sampler: Sampler | None = None,
    gradient: GradientRule | None = None,
    companions: Sequence[Companion] = (),
    group: Group = ALONE,
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
        sampler: which examples a step sees, instead of epochs.
        gradient: how a step's gradient is made, instead of the mean's; `micro_batch` is then the rule's own affair.
        companions: go along, are kept in checkpoints, and may end the fit early.
        group: the processes that share each batch; the same result up to rounding (dropout draws other masks). Companions and checkpoints
            are rank 0's affair, and the weights that are to be used are its weights.

    Raises:
        NumericalFailure: loss or gradient is not finite; names the step.
        GroupBroken: another process of the group is gone.
        ValueError: there is nothing to train or to train on, or the precision or the optimiser does not go with the device.
    """
    if examples < 1:
        raise ValueError(f"there is nothing to train on: got {examples} examples; allowed: at least 1")
    if micro_batch is not None and micro_batch < 1:
        raise ValueError(f"micro_batch is {micro_batch}; allowed: at least 1, or None for whole batches")
    rule = gradient or MeanGradient(training.batch_size, micro_batch)
    along = (*companions, *([Ema(parameters, training.ema)] if training.ema else []))
    curve = Curve()
    with Accelerated(list(parameters.values()), training, device, group) as run:
        first = group.rank == 0
        start = load_checkpoint(checkpoint, parameters, run, curve, along) if checkpoint or group.size > 1 else 0
        if first and not start:
            for companion in along:
                companion.begin()
        for step in range(start, training.steps):
            lr = lr_at(step, training)
            chosen = sampler(step) if sampler else examples_of(step, examples, training.batch_size, seed)
            batch = Batch(step, chosen, torch.arange(len(chosen)), len(chosen), seed, population=examples if sampler else None)
            value, norm = _one_step(run, rule, loss, batch.share(group.rank, group.size), lr, training)
            curve.append(step, value, lr, norm)
            ended = bool(along) and agreed(group, first and _ended(along, step + 1))
            say((step + 1) / training.steps, f"step {step + 1} of {training.steps}, loss {value:.4f}")
            if observe:
                observe(step + 1)
            if ended:
                break
            if first and checkpoint and step + 1 < training.steps and checkpoint.due(step + 1):
                save_checkpoint(checkpoint, parameters, run, curve, along)
        for companion in along if first else ():
            companion.end()
    return curve


def lr_at(step: int, training: TrainSpec) -> float:
    """The learning rate of a step: linear warm-up, then constant, a straight line to 0 or half a cosine to 0."""
    if step < training.warmup_steps:
        return training.lr * (step + 1) / training.warmup_steps
    done = (step - training.warmup_steps) / max(1, training.steps - training.warmup_steps)
    if training.schedule == "constant":
        return training.lr
    if training.schedule == "linear":
        return training.lr * (1.0 - done)
    return training.lr * 0.5 * (1.0 + math.cos(math.pi * done))


def _ended(companions: Sequence[Companion], steps: int) -> bool:
    """True when one of them ends the fit; all are told."""
    told = [companion.after(steps) for companion in companions]
    return any(told)


def _one_step(run: Accelerated, rule: GradientRule, loss: Loss, batch: Batch, lr: float, training: TrainSpec) -> tuple[float, float]:
    with run.seeded(batch.seed, batch.step):
        value = rule(run, loss, batch)
    if not math.isfinite(value):
        raise NumericalFailure(f"the loss is {value} at step {batch.step}; try a lower learning rate (now {lr:g}) or fp32 precision")
    return value, run.update(batch.step, lr, training.clip_norm)
