"""Membership-inference attacks. Scores of every attack are oriented: higher = more member-like, fixed beforehand.

Definitions, costs, defaults and weaknesses: docs/attacks.md.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from s2l_core.specs.base import Spec

Access = Literal["black-box", "eps", "gradients"]


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    twice = next((value for number, value in enumerate(values) if value in values[:number]), None)
    if twice is not None:
        raise ValueError(f"{twice} is given twice, and would be asked once and counted double; leave one out")
    return values


def _check_steps(t: int, k: int) -> None:
    if t % k:
        raise ValueError(f"t must be a multiple of k; got t={t}, k={k}; try t={t - t % k or k}")


Timesteps = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), AfterValidator(_distinct)]
Share = Annotated[float, Field(gt=0, lt=1)]
Shares = Annotated[tuple[Share, ...], Field(min_length=1), AfterValidator(_distinct)]


class AttackKind(Spec):
    """What all attacks are.

    Attributes:
        learns: whether images' scores are a classifier's, trained on a part of the images that gets no score itself.
    """

    learns: ClassVar[bool] = False


class LossAttack(AttackKind):
    """Minus the denoising error, averaged over fixed timesteps and keyed noise draws (arXiv 2302.03262). Access: eps."""

    kind: Literal["loss"] = "loss"
    access: Literal["eps"] = "eps"
    timesteps: Timesteps = (50, 100, 200, 300)
    draws: PositiveInt = 2


class SecMIAttack(AttackKind):
    """SecMI_stat (arXiv 2302.01316): minus the t-error of a deterministic DDIM walk, compared at timestep `t`. Access: eps."""

    kind: Literal["secmi"] = "secmi"
    access: Literal["eps"] = "eps"
    t: PositiveInt = 100
    k: PositiveInt = 10

    @model_validator(mode="after")
    def _whole_steps(self) -> SecMIAttack:
        _check_steps(self.t, self.k)
        return self


class SecMINNsAttack(AttackKind):
    """SecMI_NNs (arXiv 2302.01316): a small classifier's logit for member, of the t-error at each element.

    It is trained on the share `calibration` of members and of non-members, which gets no scores. Access: eps, and the membership of that
    share.
    """

    learns: ClassVar[bool] = True
    kind: Literal["secmi_nns"] = "secmi_nns"
    access: Literal["eps"] = "eps"
    t: PositiveInt = 100
    k: PositiveInt = 10
    calibration: Share = 0.5
    steps: PositiveInt = 200
    lr: PositiveFloat = 1e-3
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _whole_steps(self) -> SecMINNsAttack:
        _check_steps(self.t, self.k)
        return self


class PIAAttack(AttackKind):
    """PIA (arXiv 2305.18355): minus the p-th power error between eps(x_0, 0) and eps(x_t, t) along that direction. Access: eps.

    With `normalized` it is PIAN.
    """

    kind: Literal["pia"] = "pia"
    access: Literal["eps"] = "eps"
    t: PositiveInt = 100
    p: PositiveFloat = 4.0
    normalized: bool = False


class SimAAttack(AttackKind):
    """SimA (arXiv 2509.25003): minus the sum of |eps(x_0, t)|^p, of the clean image shown as if it were the state at `t`. Access: eps."""

    kind: Literal["sima"] = "sima"
    access: Literal["eps"] = "eps"
    t: NonNegativeInt = 100
    p: PositiveFloat = 4.0


class PFAMIAttack(AttackKind):
    """PFAMI (arXiv 2308.12143): the mean rise of the denoising loss from image to crop; `relative`: as a share of the image's own.

    `crops` are shares of the sides. Access: eps.
    """

    kind: Literal["pfami"] = "pfami"
    access: Literal["eps"] = "eps"
    timesteps: Timesteps = (0, 50, 100, 150, 200, 250, 300, 350, 400, 450)
    crops: Shares = (0.95, 0.92, 0.89, 0.87, 0.84, 0.81, 0.78, 0.76, 0.73, 0.7)
    draws: PositiveInt = 1
    relative: bool = True


class ClidAttack(AttackKind):
    """CLiD (arXiv 2405.14800): the mean rise of the denoising loss from an image's caption to its pieces and to none, same noise.

    From it `loss_weight` times the loss with the whole caption is taken. Access: eps.
    """

    kind: Literal["clid"] = "clid"
    access: Literal["eps"] = "eps"
    timesteps: Timesteps = (440, 450, 460)
    draws: PositiveInt = 1
    pieces: NonNegativeInt = 3
    loss_weight: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _smaller_than_the_whole(self) -> ClidAttack:
        if self.pieces == 1:
            raise ValueError("pieces: one piece is the whole caption; give 0 (nothing but the empty caption) or 2 and more")
        return self


AnyAttack = LossAttack | SecMIAttack | SecMINNsAttack | PIAAttack | SimAAttack | PFAMIAttack | ClidAttack
AttackSpec = Annotated[AnyAttack, Field(discriminator="kind")]

ATTACK_PRESETS: dict[str, AnyAttack] = {
    "loss": LossAttack(),
    "secmi": SecMIAttack(),
    "s2l-paper": SecMIAttack(t=140, k=10),
    "secmi_nns": SecMINNsAttack(),
    "pia": PIAAttack(),
    "pian": PIAAttack(normalized=True),
    "sima": SimAAttack(),
    "pfami": PFAMIAttack(),
    "clid": ClidAttack(),
}
