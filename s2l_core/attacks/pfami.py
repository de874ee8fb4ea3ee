"""PFAMI (arXiv 2308.12143): how much less probable crops of an image are to the model than the image itself.

A memorised image is a peak of the model's probability, so its neighbours fall off steeply: a large fluctuation is member-like, and it is
the score. The published proxy of the probability is the denoising loss, whose rise from image to crop is averaged. Crops are taken of what
the network sees, which is latents: nothing is encoded again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2l_core.attacks.noising import denoising_loss, noise_of, noisy
from s2l_core.attacks.queries import Attack, Images, check_timestep
from s2l_core.specs.attacks import PFAMIAttack

SMALLEST_LOSS = 1e-12
"""What a loss of zero counts as where it divides."""


def attack(spec: PFAMIAttack, images: Images) -> Attack:
    """The mean rise of the denoising loss from image to crop; timesteps x draws x (1 + crops) network calls.

    An image and its crops get the same noise, fixed by the image's key, the timestep and the draw: what is left of a difference is due to
    the crop. The questions about the image itself are the loss attack's.

    Raises:
        ValueError: a timestep is beyond the schedule, or x0 are no images of more than one pixel.
    """
    neighbours = cropped(images.x0, spec.crops)
    total = images.x0.new_zeros(len(images.x0))
    for t in spec.timesteps:
        check_timestep(images.alphas_cumprod, t, "pfami")
        for draw in range(spec.draws):
            noise = noise_of(images, t, draw)
            eps = yield images.ask(noisy(images, images.x0, noise, t), t)
            own = denoising_loss(eps, noise)
            scale = own.clamp_min(SMALLEST_LOSS) if spec.relative else 1.0
            for neighbour in neighbours:
                eps = yield images.ask(noisy(images, neighbour, noise, t), t)
                total = total + (denoising_loss(eps, noise) - own) / scale
    return total / (len(spec.timesteps) * spec.draws * len(spec.crops))


def cropped(x0: Tensor, crops: Sequence[float]) -> list[Tensor]:
    """For each share of the sides, the images' middle of that size drawn at full size again, [n, c, h, w] each.

    Bilinear, with pixels as squares. The borders of the middle lie anywhere, not on whole pixels only: latents have few.

    Raises:
        ValueError: x0 is not [n, c, h, w] with sides of at least 2.
    """
    if x0.ndim != 4 or min(x0.shape[2:]) < 2:
        raise ValueError(f"pfami crops images [n, c, h, w] with sides of at least 2; got the shape {list(x0.shape)}")
    return [_stretched(_stretched(x0, share, dim=2), share, dim=3) for share in crops]


def _stretched(x: Tensor, share: float, *, dim: int) -> Tensor:
    """The middle share of one axis, spread over the whole axis by linear interpolation."""
    side = x.shape[dim]
    middle = (side - 1) / 2
    places = middle + share * (torch.arange(side, dtype=x.dtype, device=x.device) - middle)
    left = places.floor().clamp(0, side - 2)
    shape = [1] * x.ndim
    shape[dim] = side
    weight = (places - left).reshape(shape)
    index = left.long()
    return x.index_select(dim, index) * (1 - weight) + x.index_select(dim, index + 1) * weight
