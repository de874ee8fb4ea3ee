"""The autoencoder's own loss: reconstruction and a small KL term, both per pixel value.

Letters: b images of a batch, c, h, w latents, H, W pixels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from s2l_core.families.sd import StableDiffusion
from s2l_core.objectives.terms import Reconstruction
from s2l_core.training.batch import Batch


def autoencoding(model: StableDiffusion, posterior: Any, pixels: Tensor, batch: Batch, name: str, weights: Reconstruction) -> Tensor:
    """weight * mean squared error + kl_weight * KL / (3 H W), as [b]; a sample of the posterior, with keyed noise, is decoded.

    The KL (nats, over all latents) is divided by the number of pixel values because the error is a mean over them: so `kl_weight` means
    what it means in the loss that Stable Diffusion's autoencoder was trained with, where both are sums (arXiv 2112.10752, section G).

    Args:
        posterior: diffusers' distribution of unscaled latents [b, c, h, w].
        pixels: [b, 3, H, W] in [-1, 1].
    """
    latents = posterior.mean + posterior.std * batch.noise(posterior.mean.shape[1:], f"posterior of {name}").to(posterior.mean)
    made = model.vae.decode(latents).sample
    error = (made.float() - pixels.to(made.device)).square().mean(dim=(1, 2, 3))
    found: Tensor = weights.weight * error + weights.kl_weight * posterior.kl().float() / pixels[0].numel()
    return found
