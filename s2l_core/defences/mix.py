"""Images of the set are mixed with public ones (mixup, arXiv 1710.09412)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from s2l_core.defences.setup import Scene, Setup
from s2l_core.objectives import Mixed, Term
from s2l_core.specs.defences import MixDefence
from s2l_core.training.fit import Curve


def defend(setup: Setup, spec: MixDefence, scene: Scene) -> Setup:
    """The set's term, mixed with the public images and their own prompts; class images stay as they are.

    Raises:
        ValueError: the autoencoder is trained, which would meet the images as they are.
    """
    first, *others = setup.terms
    if first.reconstruction is not None:
        raise ValueError(
            "defence mix does not go with objective end-to-end: the autoencoder would learn the images as they are; leave one of them out"
        )
    public = Term("public", scene.public, tuple(record.text for record in scene.public))
    mixed = Mixed(public, spec.alpha, images="image" in spec.levels, prompts="prompt" in spec.levels)

    def report(curve: Curve) -> dict[str, Any]:
        return {"kind": spec.kind, "alpha": spec.alpha, "levels": list(spec.levels), "public_images": len(scene.public)}

    return replace(setup, terms=(replace(first, mixed=mixed), *others), report=report)
