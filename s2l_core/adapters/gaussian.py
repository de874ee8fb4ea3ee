"""Gaussian noise on weights, in place of training: the control that says how much of an effect is mere disturbance.

Everything is computed on the CPU in float64 and rounded once, so that the noise is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from s2l_core.adapters.part import Change, WeightsFile
from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import keyed_noise
from s2l_core.specs.adapters import GaussianAdapter, Layers, Module

FILE = "gaussian.safetensors"
SAME_BASE = 1e-3
"""Relative difference of a weight's root mean square from the one the noise was made for that another precision may make."""


class Gaussian:
    """Noise on some weights of one model; the originals are kept aside and come back on detach."""

    def __init__(self, weights: dict[str, nn.Parameter], seed: int) -> None:
        self._weights = weights
        self._seed = seed
        self._originals = {name: weight.detach().clone() for name, weight in weights.items()}
        self._rms = {name: _root_mean_square(weight) for name, weight in weights.items()}
        self._sigma = dict.fromkeys(weights, 0.0)

    def set_sigma(self, spec: GaussianAdapter, match_norms: Mapping[Module, float] | None) -> None:
        """Draw and add the noise that the spec asks for."""
        units = self._rms if spec.scale == "rms" else dict.fromkeys(self._rms, 1.0)
        factors = {module: self._factor(spec.sigma, match_norms, module, _of(module, units)) for module in spec.modules}
        self._apply({name: factors[_module(name)] * unit for name, unit in units.items()})

    def parameters(self) -> dict[str, nn.Parameter]:
        return {}

    def files(self) -> dict[str, WeightsFile]:
        """Per weight the standard deviation used, and the weight's root mean square, by which the base is known again."""
        groups = {"sigma": self._sigma, "rms": self._rms}
        values = {f"{group}.{name}": value for group, found in groups.items() for name, value in found.items()}
        return {FILE: WeightsFile({name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()})}

    def load(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        saved = files[FILE]
        for name, rms in self._rms.items():
            theirs = float(saved[f"rms.{name}"])
            if not math.isclose(rms, theirs, rel_tol=SAME_BASE):
                raise ValueError(
                    f"the weights are for another base model: {FILE}: the noise was made for a {name} with root mean square {theirs:.6g}, "
                    f"the model's is {rms:.6g}"
                )
        self._apply({name: float(saved[f"sigma.{name}"]) for name in self._sigma})

    def change(self) -> dict[str, Change]:
        return {name: partial(self._difference, name) for name in self._weights}

    def train(self, mode: bool) -> None:
        return None

    @torch.no_grad()
    def detach(self) -> None:
        for name, weight in self._weights.items():
            weight.copy_(self._originals[name])

    def _factor(
        self, sigma: float | Literal["match"], match_norms: Mapping[Module, float] | None, module: Module, units: Mapping[str, float]
    ) -> float:
        """What the noise of one module's weights is multiplied by; `units` are their standard deviations at sigma 1."""
        if sigma != "match":
            return sigma
        if match_norms is None:
            raise ValueError("gaussian with sigma: match needs the norms of another shake's change; give match_norms, or sigma as a number")
        wanted = match_norms.get(module, 0.0)
        if wanted == 0:
            return 0.0
        length = math.sqrt(math.fsum(unit**2 * float(self._noise(name).square().sum()) for name, unit in units.items()))
        if length == 0:
            raise ValueError(f"gaussian cannot match the change of {module}: {_zero(units)}")
        return wanted / length

    @torch.no_grad()
    def _apply(self, sigma: dict[str, float]) -> None:
        if sigma == self._sigma:  # drawing takes seconds for a large model, and `load` finds most noise in place
            return
        self._sigma = sigma
        for name, weight in self._weights.items():
            original = self._originals[name]
            if sigma[name] == 0:
                weight.copy_(original)  # adding nothing would lose the sign of a zero
            else:
                weight.copy_(original.cpu().double() + sigma[name] * self._noise(name))

    def _noise(self, name: str) -> Tensor:
        return keyed_noise(self._weights[name].shape, "gaussian", self._seed, name).double()

    def _difference(self, name: str) -> Tensor:
        now = self._weights[name].detach().double()
        return now - self._originals[name].to(now)


def attach(model: StableDiffusion, spec: GaussianAdapter, *, seed: int, match_norms: Mapping[Module, float] | None = None) -> Gaussian:
    """Noise on the chosen layers of the chosen modules, each weight's from a stream of (seed, name).

    Args:
        match_norms: for `sigma: match`, the L2 norm that the noise of each module's weights gets; a module that is not named gets none.

    Raises:
        ValueError: the choice holds no weight, or there is no norm to match.
    """
    for name, norm in (match_norms or {}).items():
        if not 0 <= norm < math.inf:
            raise ValueError(f"match_norms must be numbers of 0 or more; got {norm} for {name}")
    weights = {name: weight for module in spec.modules for name, weight in _chosen(module, model.modules()[module], spec.layers)}
    if not weights:
        raise ValueError(f"gaussian finds no weights: {_told(spec.modules)} no {spec.layers} layers; choose other layers, or layers: all")
    found = Gaussian(weights, seed)
    try:
        found.set_sigma(spec, match_norms)
    except BaseException:
        found.detach()
        raise
    return found


def _chosen(module: str, network: nn.Module, layers: Layers) -> Iterator[tuple[str, nn.Parameter]]:
    """The weights of one module by their full name, each once."""
    fitting = (layer for layer in network.modules() if _fits(layer, layers))
    wanted = {id(weight) for layer in fitting for weight in layer.parameters(recurse=layers in ("all", "attention"))}
    yield from ((f"{module}.{name}", weight) for name, weight in network.named_parameters() if id(weight) in wanted)


def _fits(layer: nn.Module, layers: Layers) -> bool:
    """Attention is known by its projections: `to_q` in diffusers, `q_proj` in transformers."""
    match layers:
        case "all":
            return True
        case "attention":
            return hasattr(layer, "to_q") or hasattr(layer, "q_proj")
        case "linear":
            return isinstance(layer, nn.Linear)
        case "convolution":
            return isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        case "norm":
            return type(layer).__name__.endswith("Norm")
        case "embedding":
            return isinstance(layer, nn.Embedding)


def _module(name: str) -> Any:
    """The module of a weight's full name."""
    return name.partition(".")[0]


def _of(module: Module, values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if _module(name) == module}


def _zero(units: Mapping[str, float]) -> str:
    """Why noise on these weights has no length."""
    return "all chosen weights are zero; use scale: absolute" if units else "the choice of layers holds no weight of it; choose others"


def _root_mean_square(weight: Tensor) -> float:
    return math.sqrt(float(weight.detach().cpu().double().square().mean()))


def _told(modules: tuple[str, ...]) -> str:
    return f"{modules[0]} has" if len(modules) == 1 else f"{' and '.join(modules)} have"
