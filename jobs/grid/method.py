"""What a point's method, with the settings that bear on it, comes to: adapters, objective and training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from jobs.errors import GridError
from jobs.grid.messages import listed
from jobs.grid.model import LORA_FIELDS, POSITION, Grid, MethodSpec, label
from jobs.grid.points import Row, Rows
from jobs.grid.presets import METHODS, PUBLISHED_EPOCHS, PUBLISHED_LR
from s2l_core.specs.adapters import AdapterSpec, LoraAdapter, NoAdapter
from s2l_core.specs.objectives import DreamBoothObjective, ObjectiveSpec, PriorPreservation
from s2l_core.specs.training import TrainSpec

RECIPE_FIELDS = ("method", *LORA_FIELDS, "prior", "lr", "steps", "epochs", "batch", "precision")
DEFAULT_BATCH = 4


@dataclass(frozen=True, eq=False)
class Recipe:
    """A fine-tuning without its images and its seed."""

    adapters: tuple[AdapterSpec, ...]
    objective: ObjectiveSpec
    training: TrainSpec

    @property
    def prior(self) -> PriorPreservation | None:
        return self.objective.prior if isinstance(self.objective, DreamBoothObjective) else None


def trains(method: MethodSpec) -> bool:
    """Whether the method changes the model at all; the baseline does not."""
    return not all(isinstance(adapter, NoAdapter) for adapter in method.adapters)


def recipe(grid: Grid, row: Row, images: int) -> Recipe:
    """What to train for a point whose method trains something.

    Args:
        images: how many images there are to train on; makes steps of epochs.

    Raises:
        GridError: settings that cannot go together.
    """
    method = row[POSITION["method"]].value
    lora = _lora_changes(grid, row)
    adapters = tuple(
        adapter.model_copy(update=lora) if lora and isinstance(adapter, LoraAdapter) else adapter for adapter in method.adapters
    )
    return Recipe(adapters, _objective(grid, row), _training(grid, row, method, images))


def check_methods(grid: Grid, rows: Rows) -> None:
    """Each field of a LoRA, and `prior`, meets a method it applies to.

    A fixed value applies wherever it can; what axes or `include` give a point must apply to it.

    Raises:
        GridError: an axis that crosses methods without a LoRA, or a fixed value that applies to no method of the grid.
    """
    methods = {row[POSITION["method"]]: None for row, _ in rows.rows}
    for name in LORA_FIELDS:
        if name in grid.fixed and not any(_has_lora(method.value) for method in methods):
            told = listed(label(method) for method in methods)
            raise GridError(f"{grid.place('fixed', name)}: no method of this grid trains a LoRA ({told}); leave it out")
    if "prior" in grid.fixed and grid.fixed["prior"].value and not any(_takes_prior(method.value) for method in methods):
        raise GridError(f"{grid.place('fixed', 'prior')}: no method of this grid has the dreambooth objective; leave it out")
    for row, explicit in dict.fromkeys((_bearing(row), explicit) for row, explicit in rows.rows):
        _check_row(grid, row, explicit, list(methods))


def _bearing(row: Row) -> Row:
    """The row with all that does not bear on methods blanked, so that equal rows are looked at once."""
    kept = [None] * len(row)
    for name in ("method", *LORA_FIELDS, "prior"):
        kept[POSITION[name]] = row[POSITION[name]]
    return tuple(kept)


def _check_row(grid: Grid, row: Row, explicit: frozenset[str], methods: list[Any]) -> None:
    method = row[POSITION["method"]]
    for name in LORA_FIELDS:
        if name in explicit and row[POSITION[name]] is not None and not _has_lora(method.value):
            fitting = [label(one) for one in methods if _has_lora(one.value)] or ["lora", "lora+dreambooth"]
            raise _does_not_apply(grid, name, row, "trains no LoRA", fitting)
    if "prior" in explicit and row[POSITION["prior"]].value and not _takes_prior(method.value):
        fitting = [label(one) for one in methods if _takes_prior(one.value)] or ["dreambooth", "lora+dreambooth"]
        raise _does_not_apply(grid, "prior", row, "has no dreambooth objective", fitting)


def _does_not_apply(grid: Grid, name: str, row: Row, why: str, fitting: list[str]) -> GridError:
    told = f"{name} is given for the method {label(row[POSITION['method']])}, which {why}"
    remedy = (
        f"say when it applies: when: {{{name}: {{method: [{listed(fitting)}]}}}}" if name in grid.axes else "leave it out of this point"
    )
    return GridError(f"{grid.place_of(name, row[POSITION[name]])}: {told}; {remedy}")


def _has_lora(method: MethodSpec) -> bool:
    return any(isinstance(adapter, LoraAdapter) for adapter in method.adapters)


def _takes_prior(method: MethodSpec) -> bool:
    return isinstance(method.objective, DreamBoothObjective)


def _lora_changes(grid: Grid, row: Row) -> dict[str, Any]:
    method: MethodSpec = row[POSITION["method"]].value
    loras = [adapter for adapter in method.adapters if isinstance(adapter, LoraAdapter)]
    given = {name: row[POSITION[name]] for name in LORA_FIELDS if row[POSITION[name]] is not None}
    if not loras or not given:
        return {}
    for name, value in given.items():
        if method.name not in METHODS and any(name in adapter.model_fields_set for adapter in loras):
            raise GridError(
                f"{grid.place_of(name, value)}: {name} is spelled out in the method {label(row[POSITION['method']])} too; keep one of them"
            )
    if given.get("alpha") == "rank":
        given["alpha"] = float(given.get("rank", loras[0].rank))
    return given


def _objective(grid: Grid, row: Row) -> ObjectiveSpec:
    method: MethodSpec = row[POSITION["method"]].value
    prior = row[POSITION["prior"]].value
    if prior is None or not isinstance(method.objective, DreamBoothObjective):
        return method.objective
    if method.objective.prior is not None:
        raise GridError(f"{grid.place_of('prior', row[POSITION['prior']])}: prior is spelled out in the method too; keep one of them")
    return method.objective.model_copy(update={"prior": prior})


def _training(grid: Grid, row: Row, method: MethodSpec, images: int) -> TrainSpec:
    lr, steps, epochs, batch, precision = (row[POSITION[name]] for name in ("lr", "steps", "epochs", "batch", "precision"))
    if steps is not None and epochs is not None:
        raise GridError(f"{grid.place_of('epochs', epochs)}: steps ({steps}) and epochs ({epochs}) are both given; keep one of them")
    batch = batch or (METHODS[method.name].batch if method.name in METHODS else DEFAULT_BATCH)
    steps = steps or math.ceil(images / batch) * (epochs or PUBLISHED_EPOCHS)
    return TrainSpec(steps=steps, batch_size=batch, lr=lr or PUBLISHED_LR, precision=precision)
