"""A fit's state as safetensors and JSON. Randomness is keyed by step, so there is no generator state to keep."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from s2l_core.training.accelerated import Accelerated

if TYPE_CHECKING:
    from s2l_core.training.fit import Checkpoint, Curve

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save_checkpoint(checkpoint: Checkpoint, parameters: Mapping[str, nn.Parameter], run: Accelerated, curve: Curve) -> None:
    """Keep weights, moments, the loss scale and the curve so far."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"weight:{name}"] = parameter.detach().cpu().contiguous()
        for moment, value in run.optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}:{name}"] = value.detach().cpu().contiguous()
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "fit.safetensors")
        state = {"curve": vars(curve), "loss_scale": run.loss_scale}
        (Path(folder) / "fit.json").write_text(json.dumps(state), encoding="utf-8")
        checkpoint.save(Path(folder))


def load_checkpoint(checkpoint: Checkpoint, parameters: Mapping[str, nn.Parameter], run: Accelerated, curve: Curve) -> int:
    """Put the newest state in place; returns the number of steps done, 0 when there is no state or it is of other parameters."""
    with tempfile.TemporaryDirectory() as folder:
        if not checkpoint.load(Path(folder)):
            return 0
        tensors = load_file(Path(folder) / "fit.safetensors")
        state = json.loads((Path(folder) / "fit.json").read_text(encoding="utf-8"))
    shapes = {name.removeprefix("weight:"): value.shape for name, value in tensors.items() if name.startswith("weight:")}
    if shapes != {name: parameter.shape for name, parameter in parameters.items()}:
        return 0
    vars(curve).update(state["curve"])
    run.loss_scale = state["loss_scale"]
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight:{name}"])
            kept = {moment: tensors[f"{moment}:{name}"] for moment in MOMENTS if f"{moment}:{name}" in tensors}
            if kept:
                run.optimizer.state[parameter] = {moment: value.to(parameter.device) for moment, value in kept.items()}
    return len(curve.step)
