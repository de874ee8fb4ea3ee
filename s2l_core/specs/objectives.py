"""How the trainable part is trained: which images meet which prompts, and the loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

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


class TemplatesObjective(Spec):
    """The denoising loss, each image with a template of its own, drawn by its place in the set (arXiv 2208.01618); `{name}` as above."""

    kind: Literal["templates"] = "templates"
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "photo of {name}",
        "picture of {name}",
        "image of {name}",
        "portrait of {name}",
        "close up photo of {name}",
        "bright photo of {name}",
        "dark photo of {name}",
        "cropped photo of {name}",
        "good photo of {name}",
    )


class EndToEndObjective(Spec):
    """`denoise`, and beside it the autoencoder's own loss on the same images: reconstruction and a small KL term.

    The denoising loss meets latents of the autoencoder as it is at that step, and sends it no gradient: encoder and decoder learn from
    `reconstruction_weight` * squared error of the decoded image (mean over pixel values) + `kl_weight` * KL of the posterior (nats, divided
    by the number of pixel values, so that the weight means what it means where both are sums). The adapters must train the vae.
    """

    kind: Literal["end-to-end"] = "end-to-end"
    reconstruction_weight: PositiveFloat = 1.0
    kl_weight: NonNegativeFloat = 1e-6


ObjectiveSpec = Annotated[
    DenoiseObjective | DreamBoothObjective | TemplatesObjective | EndToEndObjective,
    Field(discriminator="kind"),
]
