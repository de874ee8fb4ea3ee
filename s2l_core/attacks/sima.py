"""SimA (arXiv 2509.25003): the size of the noise that the model sees in a clean image which is said to be noisy.

The prediction points from the image to a weighted mean of the training images near it. A member is its own nearest neighbour: a small
prediction is member-like, so the score is minus the error.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from s2l_core.attacks.queries import Attack, EpsFn, Images, Query, answer, check_timestep, unconditioned
from s2l_core.specs.attacks import SimAAttack


def attack(spec: SimAAttack, images: Images) -> Attack:
    """Minus the SimA error of each image; 1 network call. At t=0 it is SecMI's and PIA's first, at any other t one of its own.

    Raises:
        ValueError: t is beyond the schedule.
    """
    check_timestep(images.alphas_cumprod, spec.t, "sima")
    return -(yield from errors(images, spec.t, spec.p))


def sima_error(eps: EpsFn, x0: Tensor, *, t: int, p: float = 4) -> Tensor:
    """The raw error of each image (low = member): the sum over elements of |eps(x0, t)|^p, [n]; one call of `eps`.

    Args:
        eps: the denoiser, closed over its prompt. It is shown x0 as it is, neither scaled nor noised, so that no schedule is needed.
        x0: clean images [n, ...].
        t: the timestep that x0 is said to be at.
        p: the power (and the norm it belongs to).

    Raises:
        ValueError: t is negative, or p is not positive.
    """
    if t < 0 or not p > 0:
        raise ValueError(f"sima_error needs a timestep of at least 0 and a power greater than 0; got t={t}, p={p}")
    return answer(errors(unconditioned(x0, torch.empty(0)), t, p), eps)


def errors(images: Images, t: int, p: float) -> Generator[Query, Tensor, Tensor]:
    """Asks once, at the clean image."""
    eps = yield images.ask(images.x0, t)
    return eps.flatten(1).abs().pow(p).sum(1)
