"""What a point's defence adds to its shake: its spec and further images. What it cannot serve is refused here, as the core would later."""

from __future__ import annotations

from jobs.errors import GridError
from jobs.grid.inputs import DRAWN, STRANGERS
from jobs.grid.method import Recipe
from jobs.grid.model import POSITION, Grid
from jobs.grid.points import Row
from jobs.plan.graph import Node
from jobs.plan.inputs import BaseModel, FoundInputs
from jobs.plan.sets import SetBuilder
from s2l_core.specs.defences import DefenceSpec, DpDefence, EarlyStoppingDefence
from s2l_core.specs.training import TrainSpec

_DEFENCE, _PUBLIC, _DATA = (POSITION[name] for name in ("defence", "public", "data"))


class DefenceBuilder:
    """Adds the stages that defences need to a graph."""

    def __init__(self, grid: Grid, found: FoundInputs, sets: SetBuilder) -> None:
        self._grid, self._found, self._sets = grid, found, sets

    def of(self, row: Row, base: BaseModel, how: Recipe, *, images: int, name: str) -> tuple[DefenceSpec | None, list[tuple[str, Node]]]:
        """The defence of a point's shake, and the parents that it adds.

        Args:
            images: how many images there are to train on.
            name: what the base calls the person in them.

        Raises:
            GridError: the defence cannot serve this method or this training, or has no public images.
        """
        defence: DefenceSpec | None = row[_DEFENCE].value
        if defence is None:
            return None, []
        problem = _in_method(defence, how) or _in_training(defence, how.training, images)
        if problem:
            raise GridError(f"{self._where(row)}: {problem}")
        if defence.kind == "mix":
            return defence, [("public", self._public(row))]
        return defence, [("own", self._sets.own(row, base, name))] if defence.kind == "reject" else []

    def _public(self, row: Row) -> Node:
        public = row[_PUBLIC] or (STRANGERS if row[_DATA] == DRAWN else None)
        if public is None:
            raise GridError(
                f"{self._where(row)}: the defence mix needs images of nobody concerned; give `public`: an imagefolder of images that show "
                f"nobody of the data set, or {STRANGERS} (drawn faces)"
            )
        return self._found.public(public, row[_DATA])

    def _where(self, row: Row) -> str:
        return self._grid.place_of("defence", row[_DEFENCE])


def _in_method(defence: DefenceSpec, how: Recipe) -> str | None:
    """Why a defence cannot serve what is trained; None when it can."""
    others = sorted({adapter.kind for adapter in how.adapters} - {"dense"})
    if defence.kind == "l2-to-base" and others:
        return (
            f"the defence l2-to-base serves dense adapters alone, whose weights the base has too; this method trains {', '.join(others)}; "
            "for a lora raise weight_decay, or say where it applies (when, exclude)"
        )
    if defence.kind == "mix" and how.objective.kind == "end-to-end":
        return "the defence mix does not go with the objective end-to-end: the autoencoder would learn the images as they are"
    return None


def _in_training(defence: DefenceSpec, training: TrainSpec, images: int) -> str | None:
    """Why a defence cannot serve a training; None when it can."""
    if isinstance(defence, DpDefence) and defence.delta >= 1 / images:
        return f"delta is {defence.delta:g} and there are {images} images; it must be below {1 / images:.2g}, and should be far below"
    if isinstance(defence, DpDefence) and training.batch_size > images:
        return f"the defence dp samples batches of {training.batch_size} from {images} images; make `batch` at most {images}"
    if defence.kind in ("dp", "clip-noise") and training.precision == "fp16":
        return f"the defence {defence.kind} does not go with precision fp16, which scales the loss; use fp32 or bf16"
    return _in_time(defence, training, images) if isinstance(defence, EarlyStoppingDefence) else None


def _in_time(defence: EarlyStoppingDefence, training: TrainSpec, images: int) -> str | None:
    if training.ema is not None:
        return "the defence early-stopping and `ema` each say which weights come out; leave one of them out"
    if defence.every > training.steps:
        told = f"the defence early-stopping measures every {defence.every} steps, and the training has {training.steps}"
        return f"{told}; make it longer, or write {{kind: early-stopping, every: N}} with a smaller N"
    held_out = max(1, round(defence.share * images))
    return f"the defence early-stopping would hold out {held_out} of {images} images and train on none" if held_out >= images else None
