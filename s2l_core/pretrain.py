"""Making a small base model from nothing: first the autoencoder, then text encoder and UNet on its frozen latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, to_pixels
from s2l_core.specs.pretrain import PretrainSpec
from s2l_core.tiny.architecture import untrained
from s2l_core.tiny.vocabulary import words_of
from s2l_core.training.fit import Batch, Curve, fit

Say = Callable[[float, str], None]

STORED = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Pretrained:
    """The training curves of the two halves; the model itself is in the folder."""

    autoencoder: Curve
    denoiser: Curve


def pretrain(
    records: Sequence[ImageRecord],
    out: Path,
    *,
    config: PretrainSpec,
    autoencoder_only: Sequence[ImageRecord] = (),
    device: str = "cpu",
    say: Say = lambda fraction, message: None,
) -> Pretrained:
    """Train a small latent diffusion model on `records` and write it to `out` as a diffusers folder.

    Every record is learned as a member, with its own caption; the vocabulary is the captions' words and `config.words`.

    Args:
        autoencoder_only: more images for the autoencoder, which the UNet never sees: so the autoencoder is less of a leak.
        say: called with the fraction done and a line for people.

    Raises:
        ValueError: there is nothing to train on.
    """
    if not records:
        raise ValueError("there is nothing to pre-train on: got 0 images; give at least one image with its caption")
    words = words_of([*(record.text for record in records), *config.words])
    model = untrained(config.shape, words, seed=config.seed).to(device)
    pixels = to_pixels(records, config.shape.image_size)
    more = [to_pixels(autoencoder_only, config.shape.image_size)] if autoencoder_only else []
    first = _train_autoencoder(model, torch.cat([pixels, *more]), config, _part(say, 0.0, 0.5, "autoencoder"))
    latents = _freeze_autoencoder(model, pixels)
    second = _train_denoiser(model, latents, [record.text for record in records], config, _part(say, 0.5, 1.0, "denoiser"))
    _save(model, out, config)
    return Pretrained(first, second)


def _part(say: Say, start: float, stop: float, name: str) -> Say:
    return lambda fraction, message: say(start + (stop - start) * fraction, f"{name}: {message}")


def _train_autoencoder(model: StableDiffusion, pixels: Tensor, config: PretrainSpec, say: Say) -> Curve:
    """Absolute and squared error of the reconstruction, and a small KL term that keeps the latents in place."""
    vae, device = model.vae.train().requires_grad_(True), model.device

    def loss(batch: Batch) -> Tensor:
        images = pixels[batch.indices].to(device)
        posterior = vae.encode(images).latent_dist
        made = vae.decode(posterior.mean + posterior.std * batch.noise(model.latent_shape).to(device)).sample
        error = (made - images).abs().mean(dim=(1, 2, 3)) + (made - images).square().mean(dim=(1, 2, 3))
        total: Tensor = error + config.kl_weight * posterior.kl()
        return total

    return fit(_named(vae=vae), loss, examples=len(pixels), training=config.autoencoder, seed=config.seed, device=str(device), say=say)


@torch.no_grad()
def _freeze_autoencoder(model: StableDiffusion, pixels: Tensor) -> Tensor:
    """The latents of all images (posterior mode), scaled to unit deviation; the scale is kept in the autoencoder's config."""
    model.vae.eval().requires_grad_(False)
    model.vae.register_to_config(scaling_factor=1.0)
    latents = torch.cat([model.encode_images(part) for part in torch.split(pixels, 64)])
    scale = round(1.0 / float(latents.std()), 5)
    model.vae.register_to_config(scaling_factor=scale)
    return latents * scale


def _train_denoiser(model: StableDiffusion, latents: Tensor, captions: Sequence[str], config: PretrainSpec, say: Say) -> Curve:
    """The denoising loss of text encoder and UNet; some captions are dropped, for classifier-free guidance."""
    text_encoder, unet = model.text_encoder.train().requires_grad_(True), model.unet.train().requires_grad_(True)
    tokens, empty = model.tokenize(captions), model.tokenize([""])

    def loss(batch: Batch) -> Tensor:
        rows = batch.indices.to(model.device)
        t = batch.integers(len(model.alphas_cumprod)).to(model.device)
        dropped = (batch.uniform("caption-dropout") < config.caption_dropout).to(model.device)
        context = text_encoder(torch.where(dropped[:, None], empty, tokens[rows])).last_hidden_state
        noise = batch.noise(model.latent_shape).to(model.device)
        made = model.predict(model.add_noise(latents[rows], noise, t), t, context)
        return (made - model.target(latents[rows], noise, t)).square().mean(dim=(1, 2, 3))

    parameters = _named(text_encoder=text_encoder, unet=unet)
    return fit(parameters, loss, examples=len(latents), training=config.denoiser, seed=config.seed, device=str(model.device), say=say)


def _save(model: StableDiffusion, out: Path, config: PretrainSpec) -> None:
    """Write the folder.

    `stored_as` is for autoencoder and UNet. The text encoder, a tenth of the weights, stays in fp32: transformers loads it in the precision
    it finds while diffusers loads the others in fp32, and the two must meet.
    """
    model.to("cpu", torch.float32)
    for module in (model.vae, model.unet):
        nn.Module.to(module, dtype=STORED[config.stored_as])  # diffusers' own `to` warns of modules that are not there
    model.save(out)
    for path in out.rglob("*.safetensors"):
        path.chmod(0o644)


def _named(**modules: nn.Module) -> dict[str, nn.Parameter]:
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.named_parameters()}
