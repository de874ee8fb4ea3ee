"""The shake: fine-tuning a model on a set of images. Latents are cached (the autoencoder is frozen), and text where it is not trained.

Letters: n images, b images of a batch, u distinct prompts, L tokens, D text width, c, h, w latents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s2l_core.adapters import Attached, attach
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, to_pixels
from s2l_core.objectives import Term, terms_of
from s2l_core.specs.adapters import AdapterSpec
from s2l_core.specs.objectives import ObjectiveSpec
from s2l_core.specs.training import TrainSpec
from s2l_core.training.fit import Batch, Checkpoint, Curve, fit

ENCODE_BATCH = 16


def shake(
    model: StableDiffusion,
    records: Sequence[ImageRecord],
    *,
    adapters: Sequence[AdapterSpec],
    objective: ObjectiveSpec,
    training: TrainSpec,
    name: str,
    seed: int,
    prior: Sequence[ImageRecord] | None = None,
    micro_batch: int | None = None,
    checkpoint: Checkpoint | None = None,
    say: Callable[[float, str], None] = lambda fraction, words: None,
) -> tuple[Attached, Curve]:
    """Fine-tune `model` on `records`; the result is on the model until it is detached.

    Args:
        name: the domain's name, which takes the place of `{name}` in prompts.
        prior: class images, for an objective with prior preservation.
        micro_batch: cut the effective batch into pieces of this size; the same result up to rounding.
        checkpoint: where the fit keeps its state and resumes from.

    Raises:
        ValueError: no images, or an adapter or an objective that does not fit; the model is then as it was.
        s2l_core.training.errors.NumericalFailure: loss or gradient is not finite; the model is then as it was.
    """
    terms = terms_of(objective, records, name=name, prior=prior)
    on = attach(model, adapters, seed=seed)
    try:
        if not on.parameters():
            return on, Curve()
        on.train(True)
        curve = fit(
            on.parameters(),
            denoising_loss(model, terms, text_is_trained=on.trains("text_encoder")),
            examples=len(records),
            training=training,
            seed=seed,
            device=str(model.device),
            micro_batch=micro_batch,
            checkpoint=checkpoint,
            say=say,
        )
        on.train(False)
    except BaseException:
        on.detach()
        raise
    return on, curve


def denoising_loss(model: StableDiffusion, terms: Sequence[Term], *, text_is_trained: bool) -> Callable[[Batch], Tensor]:
    """The sum of the terms' weighted denoising losses, as per-example losses [b] of a batch over the first term's images.

    Every other term adds as many images of its own, each of its epochs a permutation.
    """
    cached = [_cache(model, term, text_is_trained) for term in terms]

    def loss(batch: Batch) -> Tensor:
        total = torch.zeros(len(batch.indices), device=model.device)
        for place, term in enumerate(cached):
            rows = batch.indices if place == 0 else batch.others(len(term.latents), term.name)
            total = total + term.weight * _denoising(model, term, rows, batch)
        return total

    return loss


@dataclass(frozen=True)
class _Cached:
    """A term, ready to be trained on.

    Attributes:
        latents: [n, c, h, w].
        prompts: the distinct ones.
        which: int64 [n], the prompt of each image.
        contexts: [u, L, D] of the distinct prompts when the text encoder is frozen, else None.
    """

    name: str
    weight: float
    latents: Tensor
    prompts: list[str]
    which: Tensor
    contexts: Tensor | None


@torch.no_grad()
def _cache(model: StableDiffusion, term: Term, text_is_trained: bool) -> _Cached:
    prompts = list(dict.fromkeys(term.prompts))
    places = {prompt: place for place, prompt in enumerate(prompts)}
    pieces = [term.records[start : start + ENCODE_BATCH] for start in range(0, len(term.records), ENCODE_BATCH)]
    return _Cached(
        name=term.name,
        weight=term.weight,
        latents=torch.cat([model.encode_images(to_pixels(piece, model.image_size)) for piece in pieces]),
        prompts=prompts,
        which=torch.tensor([places[prompt] for prompt in term.prompts]),
        contexts=None if text_is_trained else torch.cat([model.encode_text([prompt]) for prompt in prompts]),
    )


def _denoising(model: StableDiffusion, term: _Cached, rows: Tensor, batch: Batch) -> Tensor:
    """The mean squared error [b] of what the UNet should answer (arXiv 2006.11239, eq. 14), t uniform."""
    x0 = term.latents[rows.to(term.latents.device)]
    t = batch.integers(len(model.alphas_cumprod), f"timestep of {term.name}").to(x0.device)
    noise = batch.noise(x0.shape[1:], f"noise of {term.name}").to(x0)
    made = model.predict(model.add_noise(x0, noise, t), t, _contexts(model, term, term.which[rows]))
    return (made.float() - model.target(x0, noise, t).float()).square().mean(dim=(1, 2, 3))


def _contexts(model: StableDiffusion, term: _Cached, which: Tensor) -> Tensor:
    """[b, L, D]; with a trained text encoder each distinct prompt of the piece is encoded once."""
    if term.contexts is not None:
        return term.contexts[which.to(term.contexts.device)]
    distinct, places = torch.unique(which, return_inverse=True)
    encoded = model.encode_text([term.prompts[place] for place in distinct.tolist()])
    return encoded[places.to(encoded.device)]
