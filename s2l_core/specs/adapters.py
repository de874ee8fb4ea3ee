"""What is trainable. One class here, one file in `s2l_core/adapters/` and one union member make a new adapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from s2l_core.specs.base import Spec

Module = Literal["unet", "text_encoder", "vae"]


class NoAdapter(Spec):
    """Nothing is trained: the model as it is ("before")."""

    kind: Literal["none"] = "none"


class DenseAdapter(Spec):
    """All weights of the named modules are trained."""

    kind: Literal["dense"] = "dense"
    modules: Annotated[tuple[Module, ...], Field(min_length=1)] = ("unet", "text_encoder")


class LoraAdapter(Spec):
    """Low-rank updates `W + alpha / rank * B A` (arXiv 2106.09685) on the named projections, through peft.

    `alpha` is stated beside `rank`, so that a sweep over ranks says what happens to the scale.
    """

    kind: Literal["lora"] = "lora"
    rank: PositiveInt = 8
    alpha: PositiveFloat = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    unet_targets: tuple[str, ...] = ("to_q", "to_v")
    text_encoder_targets: tuple[str, ...] = ("q_proj", "v_proj")


AdapterSpec = Annotated[NoAdapter | DenseAdapter | LoraAdapter, Field(discriminator="kind")]
