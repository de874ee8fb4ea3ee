"""An objective as a value: the terms whose weighted losses add up to it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from s2l_core.captions import replace_name
from s2l_core.images import ImageRecord
from s2l_core.specs.objectives import ObjectiveSpec


@dataclass(frozen=True)
class Reconstruction:
    """The autoencoder's own loss on a term's images."""

    weight: float
    kl_weight: float


@dataclass(frozen=True)
class Mixed:
    """What a term's images are mixed with, each with a share that is drawn from Beta(alpha, alpha).

    Attributes:
        public: its images and prompts; its weight plays no part.
        images, prompts: whether these are mixed.
    """

    public: Term
    alpha: float
    images: bool
    prompts: bool


@dataclass(frozen=True)
class Term:
    """One addend of the loss: the denoising loss of some images, and perhaps the autoencoder's own loss on them.

    Attributes:
        name: names the term's random draws; each name has its own.
        prompts: one an image.
        reconstruction: given exactly when the autoencoder is trained.
    """

    name: str
    records: tuple[ImageRecord, ...]
    prompts: tuple[str, ...]
    weight: float = 1.0
    reconstruction: Reconstruction | None = None
    mixed: Mixed | None = None


def terms_of(
    objective: ObjectiveSpec,
    records: Sequence[ImageRecord],
    *,
    name: str,
    prior: Sequence[ImageRecord] | None = None,
    token: str | None = None,
) -> tuple[Term, ...]:
    """The terms of an objective on a set of images; the first is about the set itself.

    Args:
        name: the domain's name, which takes the place of `{name}` in prompts.
        prior: class images, for an objective with prior preservation.
        token: what is trained to stand for the name; it takes the name's place in every prompt of the set.

    Raises:
        ValueError: there are no images, class images are missing or have no place, or the token stands in no prompt.
    """
    if not records:
        raise ValueError(f"there is nothing to fine-tune {name} on: the set holds 0 images")
    module = importlib.import_module(f"s2l_core.objectives.{objective.kind.replace('-', '_')}")
    found: tuple[Term, ...] = module.terms(objective, tuple(records), name, tuple(prior or ()))
    if token is None:
        return found
    first, *others = found
    return (replace(first, prompts=tuple(replace_name(first.prompts, name, token))), *others)
