"""The loss attack (arXiv 2302.03262): members are denoised better. The score is minus the mean squared error."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from s2l_core.attacks.queries import Attack, Images, check_timestep, squared_l2
from s2l_core.randomness import keyed_noise
from s2l_core.specs.attacks import LossAttack


def attack(spec: LossAttack, images: Images) -> Attack:
    """Minus ||eps(x_t, t) - noise||^2 per element, averaged over the timesteps and draws; timesteps x draws network calls.

    The noise of an image is fixed by its key, the timestep and the draw: before and after fine-tuning see the same.

    Raises:
        ValueError: a timestep is beyond the schedule.
    """
    total = images.x0.new_zeros(len(images.x0))
    for t in spec.timesteps:
        check_timestep(images.alphas_cumprod, t, "loss attack")
        for draw in range(spec.draws):
            noise = noise_of(images, t, draw)
            a = images.alpha(t)
            eps = yield images.ask(sqrt(a) * images.x0 + sqrt(1 - a) * noise, t)
            total = total + squared_l2(eps - noise)
    return -total / (len(spec.timesteps) * spec.draws * images.x0[0].numel())


def noise_of(images: Images, t: int, draw: int) -> Tensor:
    """Standard normal noise [n, ...] that depends on each image's key, the timestep and the draw alone."""
    shape = images.x0.shape[1:]
    return torch.stack([keyed_noise(shape, "attack-noise", key, t, draw) for key in images.keys]).to(images.x0)
