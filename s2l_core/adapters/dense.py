"""All weights of whole modules are trained; the originals are kept aside and come back on detach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from s2l_core.adapters.part import Change, WeightsFile, copy_into, name_in_file
from s2l_core.families.sd import StableDiffusion
from s2l_core.families.sd_folder import WEIGHTS
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

    def files(self) -> dict[str, WeightsFile]:
        """One a module, where and as a diffusers folder holds it: laid over a copy of the base's folder they are the fine-tuned model."""
        tensors: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, parameter in self._parameters.items():
            module, _, rest = name.partition(".")
            tensors[f"{module}/{WEIGHTS[module]}.safetensors"][name_in_file(module, rest)] = parameter.data
        return {name: WeightsFile(found, {"format": "pt"}) for name, found in tensors.items()}

    def load(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        copy_into(self.files(), files)

    def change(self) -> dict[str, Change]:
        return {name: partial(self._difference, name) for name in self._parameters}

    def train(self, mode: bool) -> None:
        return None

    def detach(self) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self._originals[name])
                parameter.grad = None

    def _difference(self, name: str) -> Tensor:
        now = self._parameters[name].detach().double()
        return now - self._originals[name].to(now)


def attach(model: StableDiffusion, spec: DenseAdapter, *, seed: int) -> Dense:
    """All weights of `spec.modules` that the base has; `seed` plays no part.

    What requires a gradient already is not the base's: another adapter put it there (rows of new tokens) and trains it.
    """
    modules = model.modules()
    named = ((f"{module}.{name}", value) for module in spec.modules for name, value in modules[module].named_parameters())
    return Dense({name: value for name, value in named if not value.requires_grad})
