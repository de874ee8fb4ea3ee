"""The denoising loss, and how much a timestep counts in it.

Letters: b images of a batch, c, h, w latents, L tokens, D text width, T training timesteps.
"""

from __future__ import annotations

from torch import Tensor

from s2l_core.families.sd import StableDiffusion
from s2l_core.training.batch import Batch


def denoising(model: StableDiffusion, x0: Tensor, context: Tensor, batch: Batch, name: str, *, snr_gamma: float | None = None) -> Tensor:
    """The mean squared error [b] of what the UNet should answer (arXiv 2006.11239, eq. 14), t uniform.

    Args:
        x0: [b, c, h, w].
        context: [b, L, D].
        name: names the draws of timesteps and noise.
        snr_gamma: weigh timesteps by their signal-to-noise ratio; None: all alike.
    """
    t = batch.integers(len(model.alphas_cumprod), f"timestep of {name}").to(x0.device)
    noise = batch.noise(x0.shape[1:], f"noise of {name}").to(x0)
    made = model.predict(model.add_noise(x0, noise, t), t, context)
    error = (made.float() - model.target(x0, noise, t).float()).square().mean(dim=(1, 2, 3))
    return error if snr_gamma is None else error * snr_weight(model, t, snr_gamma).to(error)


def snr_weight(model: StableDiffusion, t: Tensor, gamma: float) -> Tensor:
    """The min-SNR weight [b] of timesteps int64 [b], in float64 (arXiv 2303.09556, section 3.4).

    With SNR = abar / (1 - abar) it is min(SNR, gamma) for a UNet that predicts the sample, the same divided by SNR for one that predicts
    noise and by SNR + 1 for one that predicts v. (So diffusers' training scripts have it.) Finite also where SNR is 0.
    """
    abar = model.alphas_cumprod[t.to(model.alphas_cumprod.device)]
    snr = abar / (1 - abar)
    if model.prediction_type == "sample":
        return snr.clamp(max=gamma)
    if model.prediction_type == "v_prediction":
        return snr.clamp(max=gamma) / (snr + 1)
    return (gamma / snr).clamp(max=1)
