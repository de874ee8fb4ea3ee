"""How a model draws a set of images of a domain (the SP set, or class images for prior preservation)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from s2l_core.specs.base import Spec
from s2l_core.specs.training import Precision


class PromptTemplate(Spec):
    """A prompt with `{name}` for the domain's name, drawn with a probability proportional to `weight`."""

    text: str
    weight: Annotated[float, Field(gt=0)] = 1.0


class SynthesisSpec(Spec):
    """Image i of a set depends on (`seed`, i) alone, never on the batch it was drawn in.

    With `safety_checker`, images that the model's own checker rejects are left out and counted: a set may then hold fewer than `images`.
    """

    images: PositiveInt = 64
    prompts: Annotated[tuple[PromptTemplate, ...], Field(min_length=1)]
    name: str
    negative_prompt: str = ""
    scheduler: Literal["ddim", "model"] = "ddim"
    steps: PositiveInt = 50
    guidance: NonNegativeFloat = 7.5
    eta: NonNegativeFloat = 0.0
    seed: NonNegativeInt = 0
    precision: Precision = "fp32"
    safety_checker: bool = False
