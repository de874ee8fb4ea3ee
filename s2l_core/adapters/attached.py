"""Adapters that are on a model: what they train, what they changed, and how they come off."""

from __future__ import annotations

import importlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from s2l_core.adapters.part import Change, Part, WeightsFile
from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import AdapterSpec, GaussianAdapter, check_together


class Attached:
    """Adapters that are on a model now. As a context manager it takes them off again, whatever happened.

    Attributes:
        seed: what their initial values, and noise, were drawn from.
    """

    def __init__(self, model: StableDiffusion, specs: tuple[AdapterSpec, ...], seed: int) -> None:
        self.model = model
        self.specs = specs
        self.seed = seed
        self._parts: list[Part] = []
        self._required = [(value, value.requires_grad) for module in model.modules().values() for value in module.parameters()]
        for value, _ in self._required:
            value.requires_grad_(False)

    def parameters(self) -> dict[str, nn.Parameter]:
        """All that is trained, by name."""
        return {name: parameter for part in self._parts for name, parameter in part.parameters().items()}

    def files(self) -> dict[str, WeightsFile]:
        """All that is saved, by the file's name."""
        return {name: file for part in self._parts for name, file in part.files().items()}

    def state(self) -> dict[str, Tensor]:
        """All that is saved, on the CPU, by `FILE:NAME`."""
        return {f"{file}:{name}": on_cpu(value) for file, one in self.files().items() for name, value in one.tensors.items()}

    def load(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take saved tensors, whose files, names and shapes are those of `files()`.

        Raises:
            ValueError: they are for another base model.
        """
        for part in self._parts:
            part.load({name: files[name] for name in part.files()})

    def change_norm(self) -> float:
        """How far the weights of the base were moved: the L2 norm over all of them, in float64.

        A weight that two adapters change (dense below a LoRA) counts with the sum of both.
        """
        changes: dict[str, list[Change]] = defaultdict(list)
        for part in self._parts:
            for name, change in part.change().items():
                changes[name].append(change)
        with torch.no_grad():
            squares = [float(sum(change() for change in found).square().sum()) for found in changes.values()]  # type: ignore[union-attr]
        return math.sqrt(math.fsum(squares))

    def train(self, mode: bool = True) -> None:
        for part in self._parts:
            part.train(mode)

    def trains(self, module: str) -> bool:
        """True when something of that module ("unet", "text_encoder", "vae") is trained."""
        return any(name.startswith(f"{module}.") for name in self.parameters())

    def detach(self) -> None:
        """Leave the model as it was, to the bit. A second time does nothing."""
        while self._parts:
            self._parts.pop().detach()
        while self._required:
            value, required = self._required.pop()
            value.requires_grad_(required)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()


def attach(model: StableDiffusion, adapters: Sequence[AdapterSpec], *, seed: int, match_norm: float | None = None) -> Attached:
    """Put adapters on a model. Their initial values depend on `seed` and their names alone.

    Args:
        match_norm: the L2 norm over all weights that Gaussian noise with `sigma: match` gets; another `change_norm()`.

    Raises:
        ValueError: an adapter does not fit the model or another adapter; the text says which layer, and what would.
    """
    check_together(adapters)
    found = Attached(model, tuple(adapters), seed)
    try:
        for spec in adapters:
            module = importlib.import_module(f"s2l_core.adapters.{spec.kind.replace('-', '_')}")
            more = {"match_norm": match_norm} if isinstance(spec, GaussianAdapter) else {}
            found._parts.append(module.attach(model, spec, seed=seed, **more))
    except BaseException:
        found.detach()
        raise
    return found


def on_cpu(value: Tensor) -> Tensor:
    """The values, contiguous, on the CPU."""
    return value.detach().cpu().contiguous()
