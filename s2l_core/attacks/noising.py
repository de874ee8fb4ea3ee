"""Noise of an attack's own: keyed, so that attacks that noise the same image at the same timestep ask the same question."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from s2l_core.attacks.queries import Images
from s2l_core.randomness import keyed_noise


def noise_of(images: Images, t: int, draw: int) -> Tensor:
    """Standard normal noise [n, ...] that depends on each image's key, the timestep and the draw alone."""
    shape = images.x0.shape[1:]
    return torch.stack([keyed_noise(shape, "attack-noise", key, t, draw) for key in images.keys]).to(images.x0)


def noisy(images: Images, x0: Tensor, noise: Tensor, t: int) -> Tensor:
    """x_t = sqrt(a_t) x0 + sqrt(1 - a_t) noise, [n, ...], of x0 [n, ...]: the images themselves, or others in their place."""
    a = images.alpha(t)
    return sqrt(a) * x0 + sqrt(1 - a) * noise


def denoising_loss(eps: Tensor, noise: Tensor) -> Tensor:
    """The mean over an image's elements of (eps - noise)^2: [n, ...] -> [n]."""
    return (eps - noise).flatten(1).square().mean(1)
