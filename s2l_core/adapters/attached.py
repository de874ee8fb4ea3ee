"""Adapters that are on a model: what they train, what they changed, and how they come off."""

from __future__ import annotations

import importlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, get_args

import torch
from torch import Tensor, nn

from s2l_core.adapters.base_marks import marks_of
from s2l_core.adapters.part import Change, Part, WeightsFile
from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import AdapterSpec, GaussianAdapter, Module, check_together


class Attached:
    """Adapters that are on a model now. As a context manager it takes them off again, whatever happened.

    Attributes:
        seed: what their initial values, and noise, were drawn from.
        base: by which numbers the model, as it was before, is known again.
    """

    def __init__(self, model: StableDiffusion, specs: tuple[AdapterSpec, ...], seed: int) -> None:
        self.model = model
        self.specs = specs
        self.seed = seed
        self.base = marks_of(model)
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

    def change_norms(self) -> dict[Module, float]:
        """How far the weights of the base were moved, by module: the L2 norm over all weights of it, in float64.

        A weight that two adapters change (dense below a LoRA) counts with the sum of both. A module without changed weights is left out.
        """
        changes: dict[str, list[Change]] = defaultdict(list)
        for part in self._parts:
            for name, change in part.change().items():
                changes[name].append(change)
        squares: dict[Module, list[float]] = {module: [] for module in get_args(Module)}
        with torch.no_grad():
            for name, found in changes.items():
                of: Any = name.partition(".")[0]
                squares[of].append(float(sum(change() for change in found).square().sum()))  # type: ignore[union-attr]
        return {module: math.sqrt(math.fsum(values)) for module, values in squares.items() if values}

    def change_norm(self) -> float:
        """The same over the weights of all modules together."""
        return math.hypot(*self.change_norms().values())

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


def attach(
    model: StableDiffusion, adapters: Sequence[AdapterSpec], *, seed: int, match_norms: Mapping[Module, float] | None = None
) -> Attached:
    """Put adapters on a model. Their initial values depend on `seed` and their names alone.

    Args:
        match_norms: how long Gaussian noise with `sigma: match` is in each module; another's `change_norms()`.

    Raises:
        ValueError: an adapter does not fit the model or another adapter; the text says which layer, and what would.
    """
    check_together(adapters)
    found = Attached(model, tuple(adapters), seed)
    try:
        for spec in adapters:
            module = importlib.import_module(f"s2l_core.adapters.{spec.kind.replace('-', '_')}")
            more = {"match_norms": match_norms} if isinstance(spec, GaussianAdapter) else {}
            found._parts.append(module.attach(model, spec, seed=seed, **more))
    except BaseException:
        found.detach()
        raise
    return found


def on_cpu(value: Tensor) -> Tensor:
    """The values, contiguous, on the CPU."""
    return value.detach().cpu().contiguous()
