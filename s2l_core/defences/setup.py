"""What the fit of a shake is made of, as a value: a defence takes one and gives another."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from s2l_core.adapters import Attached
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord
from s2l_core.objectives import Term
from s2l_core.specs.defences import DefenceSpec
from s2l_core.specs.training import TrainSpec
from s2l_core.training.batch import Sampler
from s2l_core.training.companions import Companion
from s2l_core.training.fit import Curve
from s2l_core.training.gradient import GradientRule


def _no_facts(curve: Curve) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Setup:
    """All that a defence may change.

    Attributes:
        terms: the first one's images are the examples.
        penalty: a scalar that is added to every example's loss.
        sampler, gradient, companions: as `fit` takes them.
        report: what is to be said about the defence afterwards, as JSON values.
    """

    terms: tuple[Term, ...]
    training: TrainSpec
    penalty: Callable[[], Tensor] | None = None
    sampler: Sampler | None = None
    gradient: GradientRule | None = None
    companions: tuple[Companion, ...] = ()
    report: Callable[[Curve], dict[str, Any]] = _no_facts


@dataclass(frozen=True)
class Scene:
    """All that a defence may look at.

    Attributes:
        on: the adapters, attached and not yet trained.
        public: images of nobody concerned.
        own: samples that the model drew.
    """

    model: StableDiffusion
    on: Attached
    seed: int
    micro_batch: int | None = None
    public: tuple[ImageRecord, ...] = ()
    own: tuple[ImageRecord, ...] = ()


WANTS = {"mix": "public", "reject": "own"}
"""Which further images a kind needs; the others take none."""


def defend(setup: Setup, defence: DefenceSpec | None, scene: Scene) -> Setup:
    """The setup as the defence changes it; as it is without one.

    Raises:
        s2l_core.defences.Refused: the set is not to be trained on.
        ValueError: the defence cannot serve these adapters, this objective or this training, or images are missing or have no place.
    """
    _check_images(defence, scene.public, scene.own)
    if defence is None:
        return setup
    module = importlib.import_module(f"s2l_core.defences.{defence.kind.replace('-', '_')}")
    changed: Setup = module.defend(setup, defence, scene)
    return changed


def check_something_is_trained(defence: DefenceSpec | None, on: Attached) -> None:
    """Refuse a defence of a shake that trains nothing."""
    if defence is not None:
        kinds = ", ".join(adapter.kind for adapter in on.specs)
        raise ValueError(f"the adapters ({kinds}) train nothing, so that defence {defence.kind} has nothing to act on; leave it out")


def _check_images(defence: DefenceSpec | None, public: Sequence[ImageRecord], own: Sequence[ImageRecord]) -> None:
    kind = defence.kind if defence else "none"
    for name, given in (("public", public), ("own", own)):
        wanted = WANTS.get(kind) == name
        if wanted and not given:
            raise ValueError(f"defence {kind} needs {name} images; got none")
        if given and not wanted:
            raise ValueError(f"defence {kind} takes no {name} images; got {len(given)}; leave them out")
