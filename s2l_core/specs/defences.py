"""What protects a fine-tuning set, or is tried to. One class here, one file in `s2l_core/defences/` and one union member make a new one."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from s2l_core.specs.base import Spec

Share = Annotated[float, Field(gt=0, lt=1)]

REFUSED = "the set is refused"
"""How the message begins with which the defence `reject` ends a shake."""


class DpDefence(Spec):
    """DP-SGD (arXiv 1607.00133), with a LoRA DP-LoRA: each example's gradient is clipped, and noise is added to the sum.

    Batches are Poisson samples: each image is in a batch with probability batch_size / images. `clip` takes the place of the training's
    `clip_norm`. What epsilon protects is the fine-tuning set, not the images that the base was pre-trained on.

    Attributes:
        sampling: how batches come about; the accountants know no other way.
        clip: the largest L2 norm of one example's gradient.
        epsilon: the budget of the whole fit, from which the noise is calculated; or give `noise_multiplier`.
        noise_multiplier: standard deviation of the noise on the sum, in units of `clip`.
        accountant: how epsilon is bounded, both Opacus's: Rényi DP, or privacy random variables (tighter, slower).
    """

    kind: Literal["dp"] = "dp"
    sampling: Literal["poisson"] = "poisson"
    clip: PositiveFloat = 1.0
    delta: Share = 1e-5
    epsilon: PositiveFloat | None = None
    noise_multiplier: PositiveFloat | None = None
    accountant: Literal["rdp", "prv"] = "rdp"

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        given = [name for name in ("epsilon", "noise_multiplier") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of epsilon and noise_multiplier; got {' and '.join(given) or 'neither'}")
        return self


class ClipNoiseDefence(Spec):
    """The clipping and the noise of `dp` on ordinary batches, without accounting: a contrast. No epsilon can be stated for it."""

    kind: Literal["clip-noise"] = "clip-noise"
    sampling: Literal["epochs"] = "epochs"
    clip: PositiveFloat = 1.0
    noise_multiplier: NonNegativeFloat = 1.0


class L2ToBaseDefence(Spec):
    """`weight` * ||w - w_base||^2 is added to the loss (L2-SP, arXiv 1802.01483): the weights stay near the base's.

    For dense adapters; with a LoRA, whose weights are a difference from the base already, the training's `weight_decay` does that.
    """

    kind: Literal["l2-to-base"] = "l2-to-base"
    weight: PositiveFloat = 1e-2


class EarlyStoppingDefence(Spec):
    """Training ends when the loss on a held-out share of the set stops falling, and the weights of the best measurement come out.

    Attributes:
        share: of the set, held out and never trained on; which images is drawn from the shake's seed.
        every: steps between measurements; there is one before the first step and one after the last.
        patience: measurements without a new best that end the training.
        draws: timesteps and noises per image in a measurement, the same ones each time.
    """

    kind: Literal["early-stopping"] = "early-stopping"
    share: Share = 0.2
    every: PositiveInt = 10
    patience: PositiveInt = 3
    draws: PositiveInt = 4


class MixDefence(Spec):
    """Each image of the set meets the network mixed with a public one (mixup, arXiv 1710.09412), its prompt with the public one's.

    x = s x_set + (1 - s) x_public, with s drawn from Beta(alpha, alpha) for each image and step: of latents, and of encoded prompts.
    """

    kind: Literal["mix"] = "mix"
    alpha: PositiveFloat = 0.4
    levels: Annotated[tuple[Literal["image", "prompt"], ...], Field(min_length=1)] = ("image", "prompt")


class RejectDefence(Spec):
    """A guarded service: a set is refused when too many of its images are too near to samples that the model itself drew.

    Attributes:
        share: the largest share of near images that is let through.
        distance: what counts as near: root mean squared difference of pixels in [0, 1]; or `own`: as near as 90 % of the model's own
            samples are to the nearest other one of them.
    """

    kind: Literal["reject"] = "reject"
    share: Share = 0.5
    distance: PositiveFloat | Literal["own"] = "own"


DefenceSpec = Annotated[
    DpDefence | ClipNoiseDefence | L2ToBaseDefence | EarlyStoppingDefence | MixDefence | RejectDefence,
    Field(discriminator="kind"),
]
