"""Training ends when the loss on held-out images stops falling; the best weights come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from s2l_core.defences.setup import Scene, Setup
from s2l_core.losses import loss_of_terms
from s2l_core.objectives import Term
from s2l_core.randomness import keyed_uniform
from s2l_core.specs.defences import EarlyStoppingDefence
from s2l_core.training.batch import Batch
from s2l_core.training.errors import NumericalFailure
from s2l_core.training.fit import Curve

MEASURED_TOGETHER = 16


class HeldOut:
    """A companion of the fit that measures, remembers the best weights, and says when to stop."""

    name = "held-out"

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], measure: Callable[[], float], *, every: int, patience: int, steps: int
    ) -> None:
        self.history: list[tuple[int, float]] = []
        self._parameters = parameters
        self._measure = measure
        self._every, self._patience, self._steps = every, patience, steps
        self._best: dict[str, Tensor] = {}

    def begin(self) -> None:
        self._look(0)

    def after(self, step: int) -> bool:
        if step % self._every and step != self._steps:
            return False
        self._look(step)
        return len(self.history) - 1 - self._best_place() >= self._patience

    @torch.no_grad()
    def end(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(self._best[name])

    def tensors(self) -> dict[str, Tensor]:
        return {"history": torch.tensor(self.history, dtype=torch.float64), **{f"best {name}": value for name, value in self._best.items()}}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.history = [(int(step), loss) for step, loss in tensors["history"].tolist()]
        self._best = {name: tensors[f"best {name}"].to(parameter.device) for name, parameter in self._parameters.items()}

    @property
    def kept(self) -> int:
        """The number of steps after which the weights were best."""
        return self.history[self._best_place()][0]

    def _look(self, step: int) -> None:
        loss = self._measure()
        if not math.isfinite(loss):
            raise NumericalFailure(f"the held-out loss is {loss} after step {step}; try a lower learning rate or fp32 precision")
        self.history.append((step, loss))
        if self._best_place() == len(self.history) - 1:
            self._best = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    def _best_place(self) -> int:
        losses = [loss for _, loss in self.history]
        return losses.index(min(losses))


def defend(setup: Setup, spec: EarlyStoppingDefence, scene: Scene) -> Setup:
    """A smaller set to train on, and a companion that measures on the rest.

    Raises:
        ValueError: the set is too small to hold anything out, nothing would be measured in time, or an average of weights is asked for.
    """
    if setup.training.ema is not None:
        raise ValueError("defence early-stopping and the training's ema each say which weights come out at the end; leave one of them out")
    if setup.training.steps and spec.every > setup.training.steps:
        raise ValueError(f"defence early-stopping would measure every {spec.every} steps of {setup.training.steps}; give a smaller every")
    whole, *others = setup.terms
    held = _held_out(len(whole.records), spec.share, scene.seed)
    train = _some(whole, [place for place in range(len(whole.records)) if place not in held])
    measure = _measurement(replace(_some(whole, sorted(held)), name="held-out"), setup, spec, scene)
    companion = HeldOut(scene.on.parameters(), measure, every=spec.every, patience=spec.patience, steps=setup.training.steps)

    def report(curve: Curve) -> dict[str, Any]:
        found = {"kind": spec.kind, "held_out": len(held), "trained_on": len(train.records), "steps": len(curve.step)}
        return {**found, "kept_step": companion.kept, "held_out_loss": [list(entry) for entry in companion.history]}

    return replace(setup, terms=(train, *others), companions=(*setup.companions, companion), report=report)


def _held_out(images: int, share: float, seed: int) -> set[int]:
    count = max(1, round(share * images))
    if count >= images:
        raise ValueError(
            f"defence early-stopping would hold out {count} of {images} images and train on none; give more images, or a smaller share"
        )
    return set(sorted(range(images), key=lambda place: keyed_uniform("held-out", seed, place))[:count])


def _some(term: Term, places: list[int]) -> Term:
    return replace(term, records=tuple(term.records[place] for place in places), prompts=tuple(term.prompts[place] for place in places))


def _measurement(term: Term, setup: Setup, spec: EarlyStoppingDefence, scene: Scene) -> Callable[[], float]:
    """A function that gives the term's mean loss: of the same timesteps and noise each time, without dropout, in the weights' precision."""
    on = scene.on
    loss = loss_of_terms(scene.model, [term], text_is_trained=on.trains("text_encoder"), snr_gamma=setup.training.snr_gamma)
    rows = torch.arange(len(term.records)).repeat(spec.draws)
    batches = [
        Batch(number, part, torch.arange(len(part)), len(part), scene.seed)
        for number, part in enumerate(torch.split(rows, MEASURED_TOGETHER))
    ]

    @torch.no_grad()
    def measure() -> float:
        on.train(False)
        found = [loss(piece) for batch in batches for piece in batch.pieces(scene.micro_batch or MEASURED_TOGETHER)]
        on.train(True)
        return float(torch.cat(found).double().mean())

    return measure
