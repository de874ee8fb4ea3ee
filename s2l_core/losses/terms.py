"""The loss of an objective's terms. What is frozen is encoded once: latents with a frozen autoencoder, text with a frozen text encoder.

Letters: n images, b images of a batch, u distinct prompts, L tokens, D text width, c, h, w latents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from s2l_core.families.sd import StableDiffusion
from s2l_core.images import as_pixels, square_pixels, to_pixels
from s2l_core.losses.autoencoding import autoencoding
from s2l_core.losses.denoising import denoising
from s2l_core.objectives.terms import Mixed, Term
from s2l_core.training.batch import Batch, Loss

ENCODE_BATCH = 16
KEPT_PIXELS = 512 * 2**20
"""Bytes of decoded images that a term keeps where the autoencoder is trained; a larger set is decoded again at each step."""


def loss_of_terms(model: StableDiffusion, terms: Sequence[Term], *, text_is_trained: bool, snr_gamma: float | None = None) -> Loss:
    """The sum of the terms' weighted losses, as per-example losses [b] of a batch over the first term's images.

    Every other term adds as many images of its own, each of its epochs a permutation.
    """
    ready = [(term, _shown(model, term, text_is_trained)) for term in terms]

    def loss(batch: Batch) -> Tensor:
        total = torch.zeros(len(batch.indices), device=model.device)
        for place, (term, shown) in enumerate(ready):
            rows = batch.indices if place == 0 else batch.others(len(term.records), term.name)
            x0, context, own = shown(rows, batch)
            value = denoising(model, x0, context, batch, term.name, snr_gamma=snr_gamma)
            total = total + term.weight * (value if own is None else value + own)
        return total

    return loss


Shown = Callable[[Tensor, Batch], tuple[Tensor, Tensor, Tensor | None]]
"""Rows [b] of a term as the UNet sees them: latents [b, c, h, w], contexts [b, L, D]; and the autoencoder's own loss [b], if any."""


def _shown(model: StableDiffusion, term: Term, text_is_trained: bool) -> Shown:
    latents, contexts = _Latents(model, term), _Contexts(model, term, text_is_trained)

    def shown(rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        x0, own = latents.of(rows, batch)
        return x0, contexts.of(rows), own

    return shown if term.mixed is None else _mixed(shown, _shown(model, term.mixed.public, text_is_trained), term.mixed)


def _mixed(shown: Shown, public: Shown, how: Mixed) -> Shown:
    """Each row with a row of the public term, which goes through epochs of its own."""

    def mixed(rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        x0, context, own = shown(rows, batch)
        other_x0, other_context, _ = public(batch.others(len(how.public.records), how.public.name), batch)
        share = batch.betas(how.alpha, f"share of {how.public.name}").to(x0)
        if how.images:
            x0 = _between(x0, other_x0, share[:, None, None, None])
        if how.prompts:
            context = _between(context, other_context, share[:, None, None])
        return x0, context, own

    return mixed


def _between(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return share * one + (1 - share) * other


class _Latents:
    """A term's latents: kept, or, where the autoencoder is trained, made again by the autoencoder as it is at that step."""

    def __init__(self, model: StableDiffusion, term: Term) -> None:
        self._model = model
        self._term = term
        self._kept = _encoded(model, term) if term.reconstruction is None else None
        small = 3 * model.image_size**2 * len(term.records) <= KEPT_PIXELS
        self._decoded = square_pixels(term.records, model.image_size) if self._kept is None and small else None

    def of(self, rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Latents [b, c, h, w], and the autoencoder's own loss [b] where it is trained. The latents send the autoencoder no gradient."""
        if self._kept is not None:
            return self._kept[rows.to(self._kept.device)], None
        model, weights = self._model, self._term.reconstruction
        assert weights is not None
        pixels = self._pixels(rows)
        posterior = model.vae.encode(pixels.to(model.device, model.dtype)).latent_dist
        x0 = posterior.mean.detach() * float(model.vae.config.scaling_factor)
        return x0.float(), autoencoding(model, posterior, pixels, batch, self._term.name, weights)

    def _pixels(self, rows: Tensor) -> Tensor:
        if self._decoded is not None:
            return as_pixels(self._decoded[rows.numpy()])
        return to_pixels([self._term.records[row] for row in rows.tolist()], self._model.image_size)


@torch.no_grad()
def _encoded(model: StableDiffusion, term: Term) -> Tensor:
    pieces = [term.records[start : start + ENCODE_BATCH] for start in range(0, len(term.records), ENCODE_BATCH)]
    return torch.cat([model.encode_images(to_pixels(piece, model.image_size)) for piece in pieces])


class _Contexts:
    """A term's encoded prompts: kept, or encoded again where the text encoder is trained."""

    def __init__(self, model: StableDiffusion, term: Term, text_is_trained: bool) -> None:
        self._model = model
        self._prompts = list(dict.fromkeys(term.prompts))
        places = {prompt: place for place, prompt in enumerate(self._prompts)}
        self._which = torch.tensor([places[prompt] for prompt in term.prompts])
        with torch.no_grad():
            self._kept = None if text_is_trained else torch.cat([model.encode_text([prompt]) for prompt in self._prompts])

    def of(self, rows: Tensor) -> Tensor:
        """[b, L, D]; with a trained text encoder each distinct prompt of the piece is encoded once."""
        which = self._which[rows]
        if self._kept is not None:
            return self._kept[which.to(self._kept.device)]
        distinct, places = torch.unique(which, return_inverse=True)
        encoded = self._model.encode_text([self._prompts[place] for place in distinct.tolist()])
        return encoded[places.to(encoded.device)]
