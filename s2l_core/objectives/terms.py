"""An objective as a value: the terms whose weighted denoising losses add up to it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

from s2l_core.images import ImageRecord
from s2l_core.specs.objectives import ObjectiveSpec


@dataclass(frozen=True)
class Term:
    """One addend of the loss.

    Attributes:
        name: names the term's random draws; each name has its own.
        prompts: one an image.
    """

    name: str
    records: tuple[ImageRecord, ...]
    prompts: tuple[str, ...]
    weight: float = 1.0


def terms_of(
    objective: ObjectiveSpec, records: Sequence[ImageRecord], *, name: str, prior: Sequence[ImageRecord] | None = None
) -> tuple[Term, ...]:
    """The terms of an objective on a set of images; the first is about the set itself.

    Args:
        name: the domain's name, which takes the place of `{name}` in prompts.
        prior: class images, for an objective with prior preservation.

    Raises:
        ValueError: there are no images, or class images are missing or have no place.
    """
    if not records:
        raise ValueError(f"there is nothing to fine-tune {name} on: the set holds 0 images")
    module = importlib.import_module(f"s2l_core.objectives.{objective.kind.replace('-', '_')}")
    found: tuple[Term, ...] = module.terms(objective, tuple(records), name, tuple(prior or ()))
    return found
