"""How a small base model is made from nothing: its shape, and how its two halves are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from s2l_core.specs.base import Spec
from s2l_core.specs.training import TrainSpec


class SmallShape(Spec):
    """The sizes of a small Stable-Diffusion-shaped model: an autoencoder, a text encoder, a UNet over the latents.

    The latents are `image_size / 2 ** (len(vae_channels) - 1)` wide. All channel counts are multiples of `norm_groups`,
    the UNet's also of `heads`.
    """

    image_size: PositiveInt = 32
    vae_channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (16, 32, 64)
    latent_channels: PositiveInt = 4
    unet_channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 64)
    norm_groups: PositiveInt = 8
    heads: PositiveInt = 4
    text_width: PositiveInt = 64
    text_layers: PositiveInt = 2
    tokens: Annotated[int, Field(ge=4)] = 24

    @model_validator(mode="after")
    def _divisible(self) -> SmallShape:
        halvings = len(self.vae_channels) - 1 + len(self.unet_channels) - 1
        if self.image_size % 2**halvings:
            raise ValueError(f"image_size is halved {halvings} times, so it must be a multiple of {2**halvings}; got {self.image_size}")
        for name in ("vae_channels", "unet_channels"):
            self._check_channels(name, self.norm_groups, "norm_groups")
        self._check_channels("unet_channels", self.heads, "heads")
        if self.text_width % self.heads:
            raise ValueError(f"text_width must be a multiple of heads={self.heads}; got {self.text_width}")
        return self

    def _check_channels(self, name: str, unit: int, why: str) -> None:
        for channels in getattr(self, name):
            if channels % unit:
                below = channels - channels % unit
                near = f"{below} or {below + unit}" if below else f"{unit}"
                raise ValueError(f"{name}: channels must be multiples of {why}={unit}; got {channels}; the nearest: {near}")


class PretrainSpec(Spec):
    """First the autoencoder is trained and frozen, then text encoder and UNet together on its latents.

    Attributes:
        autoencoder: how it is trained; None where another model's is taken as it is.
    """

    shape: SmallShape = SmallShape()
    words: tuple[str, ...] = ()
    autoencoder: TrainSpec | None = TrainSpec(steps=3000, batch_size=16, lr=2e-3, schedule="cosine", warmup_steps=50, weight_decay=0.0)
    denoiser: TrainSpec = TrainSpec(steps=3000, batch_size=32, lr=1e-3, schedule="cosine", warmup_steps=100)
    kl_weight: NonNegativeFloat = 1e-6
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    seed: NonNegativeInt = 0
    stored_as: Literal["fp16", "fp32"] = "fp16"
