"""All weights of whole modules are trained; the originals are kept aside and come back on detach."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import DenseAdapter


class Dense:
    """The weights of some modules of one model, trained in place."""

    def __init__(self, parameters: dict[str, nn.Parameter]) -> None:
        self._parameters = parameters
        self._originals = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        for parameter in parameters.values():
            parameter.requires_grad_(True)

    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self._parameters)

    def state(self) -> dict[str, Tensor]:
        return {name: parameter.data for name, parameter in self._parameters.items()}

    def metadata(self) -> dict[str, Any]:
        return {}

    def train(self, mode: bool) -> None:
        return None

    def detach(self) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self._originals[name])
                parameter.grad = None


def attach(model: StableDiffusion, spec: DenseAdapter, *, seed: int) -> Dense:
    """All weights of `spec.modules`; `seed` plays no part.

    Raises:
        ValueError: the VAE is asked for; it needs its own reconstruction loss, which no objective has yet.
    """
    if "vae" in spec.modules:
        raise ValueError(
            "dense training of the vae needs its own reconstruction loss, which no objective has yet; allowed: unet, text_encoder"
        )
    modules = model.modules()
    return Dense({f"{module}.{name}": value for module in spec.modules for name, value in modules[module].named_parameters()})
