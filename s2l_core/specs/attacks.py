"""Membership-inference attacks. Scores of every attack are oriented: higher = more member-like, fixed beforehand.

Definitions, costs, defaults and weaknesses: docs/attacks.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter, model_validator

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
    """What all attacks are. What is said of a kind is no part of its meaning: no key depends on it.

    Attributes:
        learns: whether images' scores are a classifier's, trained on a part of the images that gets no score itself.
        title: what the literature calls it.
        looks_at: what it looks at, in a line.
        sign: what members have, beside non-members: fixed beforehand, whatever the data.
        source: where it was published.
    """

    learns: ClassVar[bool] = False
    title: ClassVar[str]
    looks_at: ClassVar[str]
    sign: ClassVar[str]
    source: ClassVar[str]

    @property
    def knobs(self) -> dict[str, Any]:
        """Name -> value of all that can be set."""
        return {name: getattr(self, name) for name in type(self).model_fields if name not in ("kind", "access")}

    @property
    def calls(self) -> int:
        """Network calls per image, when the attack is run alone."""
        raise NotImplementedError


class LossAttack(AttackKind):
    """Minus the denoising error, averaged over fixed timesteps and keyed noise draws (arXiv 2302.03262). Access: eps."""

    title: ClassVar[str] = "Loss"
    looks_at: ClassVar[str] = "the denoising error"
    sign: ClassVar[str] = "a smaller error"
    source: ClassVar[str] = "arXiv 2302.03262"
    kind: Literal["loss"] = "loss"
    access: Literal["eps"] = "eps"
    timesteps: Timesteps = (50, 100, 200, 300)
    draws: PositiveInt = 2

    @property
    def calls(self) -> int:
        return len(self.timesteps) * self.draws


class SecMIAttack(AttackKind):
    """SecMI_stat (arXiv 2302.01316): minus the t-error of a deterministic DDIM walk, compared at timestep `t`. Access: eps."""

    title: ClassVar[str] = "SecMI (statistic)"
    looks_at: ClassVar[str] = "how far a DDIM step and its inverse miss each other"
    sign: ClassVar[str] = "a smaller miss"
    source: ClassVar[str] = "arXiv 2302.01316"
    kind: Literal["secmi"] = "secmi"
    access: Literal["eps"] = "eps"
    t: PositiveInt = 100
    k: PositiveInt = 10

    @model_validator(mode="after")
    def _whole_steps(self) -> SecMIAttack:
        _check_steps(self.t, self.k)
        return self

    @property
    def calls(self) -> int:
        return self.t // self.k + 2


class SecMINNsAttack(AttackKind):
    """SecMI_NNs (arXiv 2302.01316): a small classifier's logit for member, of the t-error at each element.

    It is trained on the share `calibration` of members and of non-members, which gets no scores. Access: eps, and the membership of that
    share.
    """

    learns: ClassVar[bool] = True
    title: ClassVar[str] = "SecMI (classifier)"
    looks_at: ClassVar[str] = "what a classifier sees in the misses of a DDIM step and its inverse"
    sign: ClassVar[str] = "what the classifier learnt of members"
    source: ClassVar[str] = "arXiv 2302.01316"
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

    @property
    def calls(self) -> int:
        return self.t // self.k + 2


class PIAAttack(AttackKind):
    """PIA (arXiv 2305.18355): minus the p-th power error between eps(x_0, 0) and eps(x_t, t) along that direction. Access: eps.

    With `normalized` it is PIAN.
    """

    title: ClassVar[str] = "PIA"
    looks_at: ClassVar[str] = "whether two predictions of the same noise agree"
    sign: ClassVar[str] = "a smaller disagreement"
    source: ClassVar[str] = "arXiv 2305.18355"
    kind: Literal["pia"] = "pia"
    access: Literal["eps"] = "eps"
    t: PositiveInt = 100
    p: PositiveFloat = 4.0
    normalized: bool = False

    @property
    def calls(self) -> int:
        return 2


class SimAAttack(AttackKind):
    """SimA (arXiv 2509.25003): minus the sum of |eps(x_0, t)|^p, of the clean image shown as if it were the state at `t`. Access: eps."""

    title: ClassVar[str] = "SimA"
    looks_at: ClassVar[str] = "how much noise the model sees in the clean image"
    sign: ClassVar[str] = "less noise"
    source: ClassVar[str] = "arXiv 2509.25003"
    kind: Literal["sima"] = "sima"
    access: Literal["eps"] = "eps"
    t: NonNegativeInt = 100
    p: PositiveFloat = 4.0

    @property
    def calls(self) -> int:
        return 1


class PFAMIAttack(AttackKind):
    """PFAMI (arXiv 2308.12143): the mean rise of the denoising loss from image to crop; `relative`: as a share of the image's own.

    `crops` are shares of the sides. Access: eps.
    """

    title: ClassVar[str] = "PFAMI"
    looks_at: ClassVar[str] = "how fast the loss rises from the image to crops of it"
    sign: ClassVar[str] = "a steeper rise"
    source: ClassVar[str] = "arXiv 2308.12143"
    kind: Literal["pfami"] = "pfami"
    access: Literal["eps"] = "eps"
    timesteps: Timesteps = (0, 50, 100, 150, 200, 250, 300, 350, 400, 450)
    crops: Shares = (0.95, 0.92, 0.89, 0.87, 0.84, 0.81, 0.78, 0.76, 0.73, 0.7)
    draws: PositiveInt = 1
    relative: bool = True

    @property
    def calls(self) -> int:
        return len(self.timesteps) * self.draws * (1 + len(self.crops))


class ClidAttack(AttackKind):
    """CLiD (arXiv 2405.14800): the mean rise of the denoising loss from an image's caption to its pieces and to none, same noise.

    From it `loss_weight` times the loss with the whole caption is taken. Access: eps.
    """

    title: ClassVar[str] = "CLiD"
    looks_at: ClassVar[str] = "how much the image's own caption helps to denoise it"
    sign: ClassVar[str] = "more help from the caption"
    source: ClassVar[str] = "arXiv 2405.14800"
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

    @property
    def calls(self) -> int:
        return len(self.timesteps) * self.draws * (2 + self.pieces)


AnyAttack = LossAttack | SecMIAttack | SecMINNsAttack | PIAAttack | SimAAttack | PFAMIAttack | ClidAttack
AttackSpec = Annotated[AnyAttack, Field(discriminator="kind")]


class ChosenAttack(Spec):
    """Stands for the attack that a choice on calibration domains has made or will make; what it is among is the choice's."""

    kind: Literal["chosen"] = "chosen"


ScoredAttack = Annotated[AnyAttack | ChosenAttack, Field(discriminator="kind")]

_ATTACK: TypeAdapter[AnyAttack] = TypeAdapter(AttackSpec)


def attack_of(document: Mapping[str, Any]) -> AnyAttack:
    """The attack whose JSON value this is.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return _ATTACK.validate_python(dict(document))


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
