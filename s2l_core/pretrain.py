"""Making a small base model from nothing: first the autoencoder, then text encoder and UNet on its frozen latents."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from s2l_core.families import sd_folder
from s2l_core.families.sd import StableDiffusion, load_autoencoder
from s2l_core.images import ImageRecord, to_pixels
from s2l_core.specs.pretrain import PretrainSpec, SmallShape
from s2l_core.specs.training import TrainSpec
from s2l_core.tiny.architecture import untrained
from s2l_core.tiny.vocabulary import words_of
from s2l_core.training.fit import Batch, Curve, fit

Say = Callable[[float, str], None]

STORED = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Pretrained:
    """The training curves of the two halves; the model itself is in the folder. An autoencoder that was taken over has no curve."""

    autoencoder: Curve | None
    denoiser: Curve


def pretrain(
    records: Sequence[ImageRecord],
    out: Path,
    *,
    config: PretrainSpec,
    autoencoder_only: Sequence[ImageRecord] = (),
    autoencoder_from: Path | None = None,
    device: str = "cpu",
    say: Say = lambda fraction, message: None,
) -> Pretrained:
    """Train a small latent diffusion model on `records` and write it to `out` as a diffusers folder.

    Every record is learned as a member, with its own caption; the vocabulary is the captions' words and `config.words`.

    Args:
        autoencoder_only: more images for the autoencoder, which the UNet never sees: so the autoencoder is less of a leak.
        autoencoder_from: a diffusers folder whose autoencoder is taken over byte for byte; goes with `config.autoencoder = None`.
        say: called with the fraction done and a line for people.

    Raises:
        ValueError: there is nothing to train on, or the autoencoder to take over is missing, not asked for, or of another shape.
    """
    if not records:
        raise ValueError("there is nothing to pre-train on: got 0 images; give at least one image with its caption")
    words = words_of([*(record.text for record in records), *config.words])
    model = untrained(config.shape, words, seed=config.seed).to(device)
    pixels = to_pixels(records, config.shape.image_size)
    first = None
    if config.autoencoder is None:
        _take_autoencoder(model, autoencoder_from, config.shape, autoencoder_only)
    else:
        if autoencoder_from is not None:
            raise ValueError(
                f"an autoencoder is to be trained and to be taken from {autoencoder_from}; for the latter set autoencoder to None"
            )
        more = [to_pixels(autoencoder_only, config.shape.image_size)] if autoencoder_only else []
        say_first = _part(say, 0.0, 0.5, "autoencoder")
        first = _train_autoencoder(model, torch.cat([pixels, *more]), config.autoencoder, config, say_first)
        _set_scale(model, pixels)
    latents = _frozen_latents(model, pixels)
    say_second = _part(say, 0.5 if first else 0.0, 1.0, "denoiser")
    second = _train_denoiser(model, latents, [record.text for record in records], config, say_second)
    _save(model, out, config, autoencoder_from)
    return Pretrained(first, second)


def _part(say: Say, start: float, stop: float, name: str) -> Say:
    return lambda fraction, message: say(start + (stop - start) * fraction, f"{name}: {message}")


def _take_autoencoder(model: StableDiffusion, folder: Path | None, shape: SmallShape, unused: Sequence[ImageRecord]) -> None:
    """Put a trained autoencoder in the untrained one's place."""
    if folder is None:
        raise ValueError("no autoencoder is trained and none is given; name the model folder it is taken from, or say how to train one")
    if unused:
        raise ValueError(
            f"{len(unused)} images are for the autoencoder alone, which is taken from {folder} and not trained; leave them out"
        )
    loaded = load_autoencoder(folder)
    found = (tuple(loaded.config.block_out_channels), int(loaded.config.latent_channels))
    wanted = (shape.vae_channels, shape.latent_channels)
    if found != wanted:
        raise ValueError(
            f"the autoencoder in {folder} has vae_channels {[*found[0]]} and latent_channels {found[1]}, and the shape says {[*wanted[0]]} "
            f"and {wanted[1]}; give the shape the autoencoder's"
        )
    model.vae = loaded.to(model.device)


def _train_autoencoder(model: StableDiffusion, pixels: Tensor, training: TrainSpec, config: PretrainSpec, say: Say) -> Curve:
    """Absolute and squared error of the reconstruction, and a small KL term that keeps the latents in place."""
    vae, device = model.vae.train().requires_grad_(True), model.device

    def loss(batch: Batch) -> Tensor:
        images = pixels[batch.indices].to(device)
        posterior = vae.encode(images).latent_dist
        made = vae.decode(posterior.mean + posterior.std * batch.noise(model.latent_shape).to(device)).sample
        error = (made - images).abs().mean(dim=(1, 2, 3)) + (made - images).square().mean(dim=(1, 2, 3))
        total: Tensor = error + config.kl_weight * posterior.kl()
        return total

    return fit(_named(vae=vae), loss, examples=len(pixels), training=training, seed=config.seed, device=str(device), say=say)


@torch.no_grad()
def _set_scale(model: StableDiffusion, pixels: Tensor) -> None:
    """Keep in the autoencoder's config the factor that gives the latents of all images unit deviation."""
    model.vae.register_to_config(scaling_factor=1.0)
    model.vae.register_to_config(scaling_factor=round(1.0 / float(_frozen_latents(model, pixels).std()), 5))


@torch.no_grad()
def _frozen_latents(model: StableDiffusion, pixels: Tensor) -> Tensor:
    """The scaled latents of all images (posterior mode), from an autoencoder that learns no more."""
    model.vae.eval().requires_grad_(False)
    return torch.cat([model.encode_images(part) for part in torch.split(pixels, 64)])


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


def _save(model: StableDiffusion, out: Path, config: PretrainSpec, autoencoder_from: Path | None) -> None:
    """Write the folder.

    `stored_as` is for autoencoder and UNet. The text encoder, a tenth of the weights, stays in fp32: transformers loads it in the precision
    it finds while diffusers loads the others in fp32, and the two must meet.
    """
    model.to("cpu", torch.float32)
    for module in (model.vae, model.unet):
        nn.Module.to(module, dtype=STORED[config.stored_as])  # diffusers' own `to` warns of modules that are not there
    model.save(out)
    if autoencoder_from is not None:
        _copy_autoencoder(autoencoder_from, out)
    for path in out.rglob("*.safetensors"):
        path.chmod(0o644)


def _copy_autoencoder(source: Path, out: Path) -> None:
    """The bytes themselves: what was taken over is neither rounded nor written anew. A half-precision variant becomes the plain file."""
    shutil.rmtree(out / "vae")
    (out / "vae").mkdir()
    for name in sd_folder.inspect(source).names:
        if name.startswith("vae/"):
            shutil.copyfile(source / name, out / name.replace(".fp16.", "."))


def _named(**modules: nn.Module) -> dict[str, nn.Parameter]:
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.named_parameters()}
