"""A penalty on how far the weights are from the base's (L2-SP, arXiv 1802.01483)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from s2l_core.defences.setup import Scene, Setup
from s2l_core.specs.defences import L2ToBaseDefence
from s2l_core.training.fit import Curve


def defend(setup: Setup, spec: L2ToBaseDefence, scene: Scene) -> Setup:
    """weight * ||w - w_base||^2, w being all that is trained.

    Raises:
        ValueError: an adapter trains weights that the base does not have.
    """
    others = sorted({adapter.kind for adapter in scene.on.specs} - {"dense"})
    if others:
        raise ValueError(
            f"defence l2-to-base serves dense adapters, whose weights the base has too; got {', '.join(others)}; for a lora, raise the "
            "training's weight_decay: it pulls the difference from the base to zero"
        )
    weights = scene.on.parameters()
    base = {name: weight.detach().clone() for name, weight in weights.items()}

    def penalty() -> Tensor:
        return spec.weight * torch.stack([(weight - base[name]).square().sum() for name, weight in weights.items()]).sum()

    def report(curve: Curve) -> dict[str, Any]:
        return {"kind": spec.kind, "weight": spec.weight, "distance": scene.on.change_norm()}

    return replace(setup, penalty=penalty, report=report)
