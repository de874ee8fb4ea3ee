"""Membership attacks written plainly, one after another, to measure the engine against: what a first script would do, in single precision.

Each encodes the images it is given and their captions, as each of the published scripts does for itself, and makes exactly the network
calls of its own definition. Nothing is shared. Attacks that noise an image use our keyed noise, so that scores can be compared.

Letters: b images of a batch, [b, c, h, w] latents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, to_pixels
from s2l_core.randomness import keyed_noise
from s2l_core.specs.attacks import ATTACK_PRESETS, ClidAttack, LossAttack, PFAMIAttack, PIAAttack, SecMIAttack, SimAAttack


@dataclass
class Batch:
    """Some images as an attack's script sees them; it counts the network's calls."""

    model: StableDiffusion
    records: Sequence[ImageRecord]
    calls: int = 0

    def latents(self) -> Tensor:
        return self.model.encode_images(to_pixels(self.records, self.model.image_size))

    def prompts(self, texts: Sequence[str] | None = None) -> Tensor:
        return self.model.encode_text([record.text for record in self.records] if texts is None else list(texts))

    def eps(self, x: Tensor, t: int, context: Tensor) -> Tensor:
        self.calls += 1
        return self.model.eps(x, torch.full((len(x),), t), context)

    def noise(self, t: int, draw: int = 0) -> Tensor:
        return torch.stack([keyed_noise(self.model.latent_shape, "attack-noise", one.content, t, draw) for one in self.records])

    def alpha(self, t: int) -> float:
        return float(self.model.alphas_cumprod[t])

    def at(self, x0: Tensor, noise: Tensor, t: int) -> Tensor:
        return sqrt(self.alpha(t)) * x0 + sqrt(1 - self.alpha(t)) * noise


def loss(batch: Batch, spec: LossAttack) -> Tensor:
    x0, context = batch.latents(), batch.prompts()
    errors = []
    for t in spec.timesteps:
        for draw in range(spec.draws):
            noise = batch.noise(t, draw)
            errors.append((batch.eps(batch.at(x0, noise, t), t, context) - noise).square().mean((1, 2, 3)))
    return -torch.stack(errors).mean(0)


def secmi(batch: Batch, spec: SecMIAttack) -> Tensor:
    x, context = batch.latents(), batch.prompts()
    for s in range(0, spec.t, spec.k):
        x = _ddim(x, batch.eps(x, s, context), batch.alpha(s), batch.alpha(s + spec.k))
    here, further = batch.alpha(spec.t), batch.alpha(spec.t + spec.k)
    beyond = _ddim(x, batch.eps(x, spec.t, context), here, further)
    back = _ddim(beyond, batch.eps(beyond, spec.t + spec.k, context), further, here)
    return -(back - x).square().sum((1, 2, 3))


def _ddim(x: Tensor, eps: Tensor, a: float, b: float) -> Tensor:
    return sqrt(b) * (x - sqrt(1 - a) * eps) / sqrt(a) + sqrt(1 - b) * eps


def pia(batch: Batch, spec: PIAAttack) -> Tensor:
    x0, context = batch.latents(), batch.prompts()
    first = batch.eps(x0, 0, context)
    if spec.normalized:
        first = first / first.abs().mean((1, 2, 3), keepdim=True) * sqrt(2 / torch.pi)
    return -(batch.eps(batch.at(x0, first, spec.t), spec.t, context) - first).abs().pow(spec.p).sum((1, 2, 3))


def sima(batch: Batch, spec: SimAAttack) -> Tensor:
    return -batch.eps(batch.latents(), spec.t, batch.prompts()).abs().pow(spec.p).sum((1, 2, 3))


def pfami(batch: Batch, spec: PFAMIAttack) -> Tensor:
    x0, context = batch.latents(), batch.prompts()
    rises = []
    for t in spec.timesteps:
        noise = batch.noise(t)

        def error(x: Tensor, t: int = t, noise: Tensor = noise) -> Tensor:
            return (batch.eps(batch.at(x, noise, t), t, context) - noise).square().mean((1, 2, 3))

        own = error(x0)
        rises += [(error(_middle(x0, share)) - own) / own for share in spec.crops]
    return torch.stack(rises).mean(0)


def _middle(x: Tensor, share: float) -> Tensor:
    """The middle of the images at full size again: sampled on a grid whose outermost points are the middle's outermost pixels."""
    grid = F.affine_grid(torch.tensor([[share, 0.0, 0.0], [0.0, share, 0.0]]).expand(len(x), 2, 3), list(x.shape), align_corners=True)
    return F.grid_sample(x, grid, mode="bilinear", align_corners=True)


def clid(batch: Batch, spec: ClidAttack) -> Tensor:
    x0 = batch.latents()
    captions = [record.text.split() for record in batch.records]
    ends = [[len(words) * end // spec.pieces for end in range(spec.pieces + 1)] for words in captions]
    pieces = [
        [" ".join(words[cut[number] : cut[number + 1]]) for words, cut in zip(captions, ends, strict=True)] for number in range(spec.pieces)
    ]
    whole, shorter = batch.prompts(), [batch.prompts(texts) for texts in (*pieces, [""] * len(captions))]
    rises = []
    for t in spec.timesteps:
        noise = batch.noise(t)
        x = batch.at(x0, noise, t)
        own = (batch.eps(x, t, whole) - noise).square().mean((1, 2, 3))
        rises += [(batch.eps(x, t, context) - noise).square().mean((1, 2, 3)) - own for context in shorter]
    return torch.stack(rises).mean(0)


SCRIPTS: dict[str, Callable[[Batch], Tensor]] = {
    "loss": lambda batch: loss(batch, LossAttack()),
    "secmi": lambda batch: secmi(batch, SecMIAttack()),
    "pia": lambda batch: pia(batch, PIAAttack()),
    "pian": lambda batch: pia(batch, PIAAttack(normalized=True)),
    "sima": lambda batch: sima(batch, SimAAttack()),
    "pfami": lambda batch: pfami(batch, PFAMIAttack()),
    "clid": lambda batch: clid(batch, ClidAttack()),
}
"""By preset, with the presets' knobs."""
assert all(name in ATTACK_PRESETS for name in SCRIPTS)


def run(model: StableDiffusion, records: Sequence[ImageRecord], attacks: Sequence[str], size: int) -> tuple[dict[str, Tensor], int]:
    """Every attack by itself over all images, `size` at a time: scores, and the number of network calls per image."""
    scores: dict[str, Tensor] = {}
    calls = 0
    with torch.no_grad():
        for name in attacks:
            batches = [Batch(model, records[start : start + size]) for start in range(0, len(records), size)]
            scores[name] = torch.cat([SCRIPTS[name](batch) for batch in batches]).double()
            calls += batches[0].calls
    return scores, calls
