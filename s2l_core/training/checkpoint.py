"""A fit's state as safetensors and JSON. Randomness is keyed by step, so there is no generator state to keep."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from s2l_core.training.accelerated import Accelerated
from s2l_core.training.companions import Companion
from s2l_core.training.curve import Curve
from s2l_core.training.group import agreed, share_files

TENSORS, STATE = "fit.safetensors", "fit.json"


class Checkpoint(Protocol):
    """Where a fit keeps its state; `due` says after which steps."""

    def load(self, into: Path) -> bool: ...

    def save(self, folder: Path) -> None: ...

    def due(self, step: int) -> bool: ...


def save_checkpoint(
    checkpoint: Checkpoint, parameters: Mapping[str, nn.Parameter], run: Accelerated, curve: Curve, companions: Sequence[Companion]
) -> None:
    """Keep weights, the optimiser's state, what the companions know, the loss scale and the curve so far."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}
    for name, parameter in parameters.items():
        tensors[f"weight:{name}"] = parameter
        for moment, value in run.optimizer.state.get(parameter, {}).items():
            (tensors if isinstance(value, Tensor) else numbers)[f"optimizer.{moment}:{name}"] = value
    for companion in companions:
        tensors.update({f"{companion.name}:{name}": value for name, value in companion.tensors().items()})
    with tempfile.TemporaryDirectory() as folder:
        save_file({name: _kept(value) for name, value in tensors.items()}, Path(folder) / TENSORS)
        state = {"curve": vars(curve), "loss_scale": run.loss_scale, "optimizer": numbers}
        (Path(folder) / STATE).write_text(json.dumps(state), encoding="utf-8")
        checkpoint.save(Path(folder))


def load_checkpoint(
    checkpoint: Checkpoint | None, parameters: Mapping[str, nn.Parameter], run: Accelerated, curve: Curve, companions: Sequence[Companion]
) -> int:
    """Put the newest state in place; returns the number of steps done, 0 when there is no state or it is of another fit.

    Of several processes rank 0 looks, and the others take what it has: all go on from the same state, also with more or fewer of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        if not agreed(run.group, checkpoint is not None and checkpoint.load(Path(folder))):
            return 0
        share_files(run.group, Path(folder), (TENSORS, STATE))
        tensors = load_file(Path(folder) / TENSORS)
        state = json.loads((Path(folder) / STATE).read_text(encoding="utf-8"))
    owners = {name.partition(":")[0] for name in tensors}
    weights = _of("weight", tensors)
    known = {"weight"} | {companion.name for companion in companions}
    same = {name: value.shape for name, value in weights.items()} == {name: value.shape for name, value in parameters.items()}
    if not same or {owner for owner in owners if not owner.startswith("optimizer.")} != known:
        return 0
    vars(curve).update(state["curve"])
    run.loss_scale = state["loss_scale"]
    for companion in companions:
        companion.load(_of(companion.name, tensors))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    _restore_optimizer(run, parameters, tensors, state["optimizer"])
    return len(curve.step)


def _restore_optimizer(
    run: Accelerated, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor], numbers: Mapping[str, float]
) -> None:
    for key, value in {**tensors, **numbers}.items():
        owner, _, name = key.partition(":")
        if owner.startswith("optimizer."):
            moments: dict[str, Any] = run.optimizer.state[parameters[name]]
            moments[owner.removeprefix("optimizer.")] = value.to(parameters[name].device) if isinstance(value, Tensor) else value


def _of(owner: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{owner}:"): value for name, value in tensors.items() if name.startswith(f"{owner}:")}


def _kept(value: Tensor) -> Tensor:
    return value.detach().cpu().contiguous()
