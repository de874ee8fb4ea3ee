"""How the trainable part is trained: which images meet which prompts, and the loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from s2l_core.specs.base import Spec


class DenoiseObjective(Spec):
    """The denoising loss, each image with the prompt it was made with."""

    kind: Literal["denoise"] = "denoise"


class PriorPreservation(Spec):
    """Class images that hold the class in place while one instance is learned (arXiv 2208.12242, eq. 2).

    The images are drawn by the base model in a `prior` stage that all trials share.
    """

    weight: PositiveFloat = 1.0
    class_prompt: str = "photo of a person"
    images: PositiveInt = 64


class DreamBoothObjective(Spec):
    """The denoising loss with one instance prompt for all images; `{name}` stands for the domain's name."""

    kind: Literal["dreambooth"] = "dreambooth"
    instance_prompt: str = "photo of {name}"
    prior: PriorPreservation | None = None


ObjectiveSpec = Annotated[DenoiseObjective | DreamBoothObjective, Field(discriminator="kind")]
