"""What an attack is: a generator that yields queries and is sent the network's answers.

Letters in shapes: n images of one chunk, `...` the elements of one image or latent, T timesteps of the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

EpsFn = Callable[[Tensor, int], Tensor]
"""A denoiser closed over its prompt: (x [n, ...], timestep) -> predicted noise [n, ...]."""


@dataclass(frozen=True)
class Query:
    """One question to the network: the predicted noise of n noisy images.

    Attributes:
        x: noisy images, float64 [n, ...].
        t: their timesteps, int64 [n].
        condition: the prompt each is shown with, n texts.
    """

    x: Tensor
    t: Tensor
    condition: tuple[str, ...]

    def same(self, other: Query) -> bool:
        """Whether both ask for the same numbers, to the bit."""
        return self.condition == other.condition and torch.equal(self.t, other.t) and torch.equal(self.x, other.x)


@dataclass(frozen=True)
class Images:
    """What an attack knows of the images it scores.

    Attributes:
        x0: clean images or latents, float64 [n, ...].
        keys: one content key an image; an attack's own noise depends on it, the timestep and the draw alone.
        prompts: the prompt each image is shown with.
        alphas_cumprod: the schedule's cumulative products of 1 - beta, float64 [T].
    """

    x0: Tensor
    keys: tuple[str, ...]
    prompts: tuple[str, ...]
    alphas_cumprod: Tensor

    def ask(self, x: Tensor, t: int, prompts: tuple[str, ...] | None = None) -> Query:
        """The query of all images at one timestep, each with its own prompt or with another."""
        return Query(x, torch.full((len(x),), t, dtype=torch.long, device=x.device), self.prompts if prompts is None else prompts)

    def alpha(self, t: int) -> float:
        """`alphas_cumprod[t]`. Timestep 0 is an ordinary one: a clean image counts as the state at timestep 0."""
        return float(self.alphas_cumprod[t])


Attack = Generator[Query, Tensor, Tensor]
"""Yields queries, is sent float64 noise predictions [n, ...], returns per-image values [n], or [n, ...] for a classifier to read."""

R = TypeVar("R")


def check_timestep(alphas_cumprod: Tensor, t: int, what: str) -> None:
    """Refuses timesteps that the schedule does not have.

    Raises:
        ValueError: `t` is negative or beyond the schedule; the text says what may be given.
    """
    if not 0 <= t < len(alphas_cumprod):
        raise ValueError(
            f"{what}: timestep {t} is not in this model's schedule; it has 0 to {len(alphas_cumprod) - 1}; choose a smaller t or k"
        )


def answer(attack: Generator[Query, Tensor, R], eps: EpsFn) -> R:
    """Runs one attack with a denoiser that is closed over its prompt, and returns what the attack returns."""
    try:
        query = next(attack)
        while True:
            query = attack.send(eps(query.x, int(query.t[0]) if len(query.t) else 0))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def unconditioned(x0: Tensor, alphas_cumprod: Tensor) -> Images:
    """Images for a denoiser that is closed over its prompt: neither keys nor prompts are needed."""
    return Images(x0, ("",) * len(x0), ("",) * len(x0), alphas_cumprod.to(torch.float64))


def squared_l2(difference: Tensor) -> Tensor:
    """Sum of squares over all elements of each image: [n, ...] -> [n]."""
    return difference.flatten(1).square().sum(1)
