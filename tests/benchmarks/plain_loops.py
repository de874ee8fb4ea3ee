"""Fine-tuning written plainly, twice, to measure ours against: nothing is kept from one step to the next but what the loop itself keeps.

- `published`: the published loop's way. Pixels lie ready; each step encodes its images and each of its prompts. Its AdamW is the fused one
  that ours uses, so that what is measured is the encoding.
- `recipe`: as diffusers' examples train. A data set opens one picture and tokenizes one prompt at a time, a DataLoader stacks them, AdamW
  is torch's default one; each step encodes as above.

Both train what is attached, by the method's loss: the same arithmetic as ours (`check_same` holds it), with draws of torch's own generator.

Letters: b images of a batch, c, h, w latents, H, W pixels, L tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, to_pixels
from s2l_core.objectives import Term
from s2l_core.training.fit import Batch, Loss

LR, WEIGHT_DECAY, CLIP_NORM = 1e-6, 1e-2, 1.0

Shown = tuple[Tensor, Tensor]
"""Pixels [b, 3, H, W] in [-1, 1] and token ids [b, L] of one batch."""


@dataclass(frozen=True)
class Draws:
    """The random part of one step: timesteps [b], noise [b, c, h, w], and the autoencoder's noise [b, c, h, w]."""

    t: Tensor
    noise: Tensor
    posterior: Tensor


def fresh_draws(model: StableDiffusion, batch: int) -> Draws:
    shape = (batch, *model.latent_shape)
    return Draws(torch.randint(len(model.alphas_cumprod), (batch,)), torch.randn(shape), torch.randn(shape))


def our_draws(model: StableDiffusion, batch: Batch) -> Draws:
    """What our loss draws for a batch of the set."""
    noise, posterior = (batch.noise(model.latent_shape, f"{what} of set") for what in ("noise", "posterior"))
    return Draws(batch.integers(len(model.alphas_cumprod), "timestep of set"), noise, posterior)


def plain_loss(model: StableDiffusion, term: Term, shown: Shown, draws: Draws) -> Tensor:
    """The mean loss of one batch. What is frozen requires no gradient, so that nothing is kept for it."""
    pixels, ids = shown
    posterior = model.vae.encode(pixels).latent_dist
    latents = posterior.mean.detach() * model.vae.config.scaling_factor
    abar = model.alphas_cumprod[draws.t].to(latents)[:, None, None, None]
    noisy = abar.sqrt() * latents + (1 - abar).sqrt() * draws.noise
    context = model.text_encoder(ids).last_hidden_state
    loss = F.mse_loss(model.unet(noisy, draws.t, context).sample, draws.noise)
    if term.reconstruction is not None:
        made = model.vae.decode(posterior.mean + posterior.std * draws.posterior).sample
        loss = loss + term.reconstruction.weight * F.mse_loss(made, pixels)
        loss = loss + term.reconstruction.kl_weight * posterior.kl().mean() / pixels[0].numel()
    return loss


# --- the published loop's way ---


def published(model: StableDiffusion, term: Term) -> Callable[[Sequence[int]], Shown]:
    """The batch of some rows: pixels that lie ready, prompts tokenized now."""
    pixels = to_pixels(term.records, model.image_size)
    return lambda rows: (pixels[list(rows)], model.tokenize([term.prompts[row] for row in rows]))


def published_steps(model: StableDiffusion, term: Term, parameters: Sequence[nn.Parameter], *, steps: int, batch: int) -> list[float]:
    """CPU seconds of each step but the first, which makes the optimiser's state."""
    shown = published(model, term)
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
    orders = (torch.randperm(len(term.records))[:batch].tolist() for _ in range(steps + 1))
    return _trained(model, term, parameters, optimizer, map(shown, orders))


# --- diffusers' recipe ---


class Pictures(Dataset[dict[str, Tensor]]):
    """One picture opened, and one prompt tokenized, for every item asked for."""

    def __init__(self, records: Sequence[ImageRecord], prompts: Sequence[str], tokenizer: Any, length: int) -> None:
        self._records, self._prompts, self._tokenizer, self._length = records, prompts, tokenizer, length

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        image = np.array(Image.open(BytesIO(self._records[row].image)).convert("RGB"))
        pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1
        ids = self._tokenizer(
            self._prompts[row], padding="max_length", max_length=self._length, truncation=True, return_tensors="pt"
        ).input_ids
        return {"pixel_values": pixels, "input_ids": ids[0]}


def collate(items: Sequence[dict[str, Tensor]]) -> Shown:
    return torch.stack([item["pixel_values"] for item in items]), torch.stack([item["input_ids"] for item in items])


def pictures(model: StableDiffusion, term: Term) -> Pictures:
    return Pictures(term.records, term.prompts, model.tokenizer, int(model.text_encoder.config.max_position_embeddings))


def recipe_steps(model: StableDiffusion, term: Term, parameters: Sequence[nn.Parameter], *, steps: int, batch: int) -> list[float]:
    """CPU seconds of each step but the first, which makes the optimiser's state."""
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=WEIGHT_DECAY)
    loader = DataLoader(pictures(model, term), batch_size=batch, shuffle=True, collate_fn=collate, drop_last=True)
    return _trained(model, term, parameters, optimizer, _first(steps + 1, loader))


def _first(steps: int, loader: DataLoader[dict[str, Tensor]]) -> Iterator[Shown]:
    """As many batches as there are steps, through as many epochs as that takes."""
    done = 0
    while done < steps:
        for shown in loader:
            yield shown
            done += 1
            if done == steps:
                return


# --- both ---


def _trained(
    model: StableDiffusion, term: Term, parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, batches: Iterator[Shown]
) -> list[float]:
    marks = []
    for shown in batches:
        loss = plain_loss(model, term, shown, fresh_draws(model, len(shown[0])))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        marks.append(time.process_time())
    return [later - earlier for earlier, later in pairwise(marks)]


def check_same(model: StableDiffusion, term: Term, ours: Loss, parameters: Sequence[nn.Parameter], batch: Batch) -> dict[str, float]:
    """How far, at most, the loss and the gradient of both loops' first step are from ours, relative to ours.

    Raises:
        AssertionError: they are not the same arithmetic.
    """
    rows, draws = batch.indices.tolist(), our_draws(model, batch)
    wanted, wanted_slope = _with_gradient(ours(batch).mean(), parameters)
    items = pictures(model, term)
    found = {"loss": 0.0, "gradient": 0.0}
    for shown in (published(model, term)(rows), collate([items[row] for row in rows])):
        value, slope = _with_gradient(plain_loss(model, term, shown, draws), parameters)
        found["loss"] = max(found["loss"], float((value - wanted).abs() / wanted))
        found["gradient"] = max(found["gradient"], float((slope - wanted_slope).norm() / wanted_slope.norm()))
    assert found["loss"] < 1e-5, f"the loss of the first step differs by {found['loss']:.1e}"
    assert found["gradient"] < 1e-3, f"the gradient of the first step differs by {found['gradient']:.1e}"
    return found


def _with_gradient(loss: Tensor, parameters: Sequence[nn.Parameter]) -> tuple[Tensor, Tensor]:
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return loss.detach(), torch.cat([gradient.flatten() for gradient in gradients]).double()
