"""What a point's method, with the settings that bear on it, comes to: adapters, objective and training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from jobs.errors import GridError
from jobs.grid.applies import given
from jobs.grid.messages import listed
from jobs.grid.model import LORA_FIELDS, POSITION, TOKEN_FIELDS, Grid, MethodSpec, label
from jobs.grid.points import Row
from jobs.grid.presets import METHODS, PUBLISHED_EPOCHS, PUBLISHED_LR
from s2l_core.specs.adapters import AdapterSpec, GaussianAdapter, LoraAdapter, NoAdapter, changed_modules, token_for
from s2l_core.specs.objectives import DenoiseObjective, DreamBoothObjective, ObjectiveSpec, PriorPreservation
from s2l_core.specs.training import TrainSpec

LENGTH_FIELDS = ("lr", "steps", "epochs", "batch", "warmup")
TRAINER_FIELDS = ("schedule", "optimizer", "weight_decay", "clip", "ema", "snr_gamma", "precision")
ADAPTER_FIELDS: dict[str, dict[str, str]] = {
    "lora": {name: name for name in LORA_FIELDS},
    "textual-inversion": {name: name for name in TOKEN_FIELDS},
    "gaussian": {"sigma": "sigma", "noise_scale": "scale", "noise_layers": "layers"},
}
"""Kind of adapter -> setting of a grid -> field of the adapter."""

RECIPE_FIELDS = (
    "method",
    *(name for fields in ADAPTER_FIELDS.values() for name in fields),
    "prior",
    *LENGTH_FIELDS,
    *TRAINER_FIELDS,
)
DEFAULT_BATCH = 4


@dataclass(frozen=True, eq=False)
class Recipe:
    """A fine-tuning, or a perturbation, without its images and its seed."""

    adapters: tuple[AdapterSpec, ...]
    objective: ObjectiveSpec
    training: TrainSpec

    @property
    def prior(self) -> PriorPreservation | None:
        return self.objective.prior if isinstance(self.objective, DreamBoothObjective) else None

    @cached_property
    def token(self) -> str | None:
        """What takes the domain's name's place in prompts, where tokens are trained."""
        return token_for(self.adapters)

    @cached_property
    def own_vae(self) -> bool:
        """Whether the autoencoder becomes another than the base's."""
        return "vae" in changed_modules(self.adapters)

    @property
    def matched(self) -> bool:
        """Whether it is as long as what another shake changed."""
        return any(isinstance(adapter, GaussianAdapter) and adapter.sigma == "match" for adapter in self.adapters)

    def matched_to(self, other: Recipe) -> Recipe:
        """Noise where the other recipe changes weights, unless the grid says where.

        Raises:
            ValueError: the grid says modules of which the other one changes none.
        """
        moved, adapters = changed_modules(other.adapters), []
        for adapter in self.adapters:
            if isinstance(adapter, GaussianAdapter):
                asked = adapter.modules if "modules" in adapter.model_fields_set else moved
                modules = tuple(module for module in asked if module in moved)
                if not modules:
                    told = f"the noise is on {listed(adapter.modules)}"
                    raise ValueError(f"{told}, and what it is to be as long as changes {listed(moved)} alone")
                adapter = adapter.model_copy(update={"modules": modules})
            adapters.append(adapter)
        return replace(self, adapters=tuple(adapters))


def changes(method: MethodSpec) -> bool:
    """Whether the method changes the model at all; the baseline does not."""
    return not all(isinstance(adapter, NoAdapter) for adapter in method.adapters)


def perturbation(grid: Grid, row: Row) -> Recipe:
    """What to add to the model for a point whose method trains nothing. No setting of training is part of it."""
    return Recipe(_adapters(grid, row), DenoiseObjective(), TrainSpec(steps=0))


def recipe(grid: Grid, row: Row, images: int) -> Recipe:
    """What to train for a point whose method trains something.

    Args:
        images: how many images there are to train on; makes steps of epochs.

    Raises:
        GridError: settings that cannot go together.
    """
    return Recipe(_adapters(grid, row), _objective(grid, row), _training(grid, row, images))


def _adapters(grid: Grid, row: Row) -> tuple[AdapterSpec, ...]:
    method: MethodSpec = row[POSITION["method"]].value
    return tuple(_changed(grid, row, method, adapter) for adapter in method.adapters)


def _changed(grid: Grid, row: Row, method: MethodSpec, adapter: AdapterSpec) -> AdapterSpec:
    """The adapter with the settings of the point that bear on it."""
    settings = ADAPTER_FIELDS.get(adapter.kind, {})
    update: dict[str, Any] = {}
    for name, target in settings.items():
        value = row[POSITION[name]]
        if value is None:
            continue
        if method.name not in METHODS and target in adapter.model_fields_set:
            told = label(row[POSITION["method"]])
            raise GridError(f"{grid.place_of(name, value)}: {name} is spelled out in the method {told} too; keep one of them")
        update[target] = getattr(value, "value", value)
    if isinstance(adapter, LoraAdapter) and update.get("alpha") == "rank":
        update["alpha"] = float(update.get("rank", adapter.rank))
    return adapter.model_copy(update=update) if update else adapter


def _objective(grid: Grid, row: Row) -> ObjectiveSpec:
    method: MethodSpec = row[POSITION["method"]].value
    if not given(row, "prior") or not isinstance(method.objective, DreamBoothObjective):
        return method.objective
    prior = row[POSITION["prior"]]
    if method.objective.prior is not None:
        raise GridError(f"{grid.place_of('prior', prior)}: prior is spelled out in the method too; keep one of them")
    return method.objective.model_copy(update={"prior": prior.value})


def _training(grid: Grid, row: Row, images: int) -> TrainSpec:
    lr, steps, epochs, batch, warmup = (row[POSITION[name]] for name in LENGTH_FIELDS)
    if steps is not None and epochs is not None:
        raise GridError(f"{grid.place_of('epochs', epochs)}: steps ({steps}) and epochs ({epochs}) are both given; keep one of them")
    preset = METHODS.get(row[POSITION["method"]].value.name or "")
    batch = batch or (preset.batch if preset else DEFAULT_BATCH)
    steps = steps or math.ceil(images / batch) * (epochs or PUBLISHED_EPOCHS)
    if warmup >= steps:
        raise GridError(
            f"{grid.place_of('warmup', warmup)}: the warm-up has {warmup} steps and the training {steps}, so that the learning rate "
            "never gets to its value; make it shorter"
        )
    schedule, optimizer, weight_decay, clip, ema, snr_gamma, precision = (row[POSITION[name]] for name in TRAINER_FIELDS)
    return TrainSpec(
        steps=steps,
        batch_size=batch,
        lr=lr or (preset.lr if preset else PUBLISHED_LR),
        schedule=schedule,
        warmup_steps=warmup,
        optimizer=optimizer,
        weight_decay=weight_decay,
        clip_norm=_unless_none(clip),
        ema=_unless_none(ema),
        snr_gamma=_unless_none(snr_gamma),
        precision=precision,
    )


def _unless_none(value: float | str) -> float | None:
    return None if value == "none" else float(value)
