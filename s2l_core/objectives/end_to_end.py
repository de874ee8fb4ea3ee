"""UNet, text encoder and autoencoder together: each image with its own prompt, and the autoencoder's own loss on the same images."""

from __future__ import annotations

from dataclasses import replace

from s2l_core.images import ImageRecord
from s2l_core.objectives import denoise
from s2l_core.objectives.terms import Reconstruction, Term
from s2l_core.specs.objectives import DenoiseObjective, EndToEndObjective


def terms(objective: EndToEndObjective, records: tuple[ImageRecord, ...], name: str, prior: tuple[ImageRecord, ...]) -> tuple[Term, ...]:
    """The set alone, as `denoise` shows it, with a reconstruction.

    Raises:
        ValueError: class images are given.
    """
    if prior:
        raise ValueError(f"objective end-to-end takes no class images; got {len(prior)}; use dreambooth with a prior")
    (shown,) = denoise.terms(DenoiseObjective(), records, name, ())
    return (replace(shown, reconstruction=Reconstruction(objective.reconstruction_weight, objective.kl_weight)),)
