"""Residual MLPs between the text and the keys and values that cross-attention makes of it, as the web UIs have them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from s2l_core.adapters.part import Change, WeightsFile, copy_into
from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import generator, keyed_noise
from s2l_core.specs.adapters import Activation, HypernetworkAdapter

FILE = "hypernetwork.safetensors"
ATTRIBUTE = "hypernetwork"
NORMAL_STD = 0.01
ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class ContextMLP(nn.Module):
    """c + mlp(c): hidden layers of linear, activation, normalisation and dropout; the last layer is linear alone."""

    def __init__(self, width: int, hidden: list[int], spec: HypernetworkAdapter) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(size, following) for size, following in pairwise([width, *hidden, width]))
        self.norms = nn.ModuleList(nn.LayerNorm(size) if spec.layer_norm else nn.Identity() for size in hidden)
        self.activation = ACTIVATIONS[spec.activation]()
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, context: Tensor) -> Tensor:
        """[n, L, D] of a context [n, L, D]."""
        inner = context
        for place, norm in enumerate(self.norms):
            inner = self.dropout(norm(self.activation(self.linears[place](inner))))
        return context + self.linears[-1](inner)  # type: ignore[no-any-return]


class Hypernetwork:
    """One pair of MLPs, for keys and for values, that all cross-attention layers of one UNet share."""

    def __init__(self, unet: nn.Module, pair: nn.ModuleDict, header: dict[str, Any]) -> None:
        self._unet = unet
        self._pair = pair
        self._header = header
        unet.add_module(ATTRIBUTE, pair)  # so that it moves with the UNet to another device or precision
        self._hooks = [
            attention.get_submodule(projection).register_forward_pre_hook(_before(pair[name]))
            for attention in cross_attentions(unet)
            for name, projection in (("key", "to_k"), ("value", "to_v"))
        ]
        self.train(False)

    def parameters(self) -> dict[str, nn.Parameter]:
        return {f"unet.{ATTRIBUTE}.{name}": parameter for name, parameter in self._pair.named_parameters()}

    def files(self) -> dict[str, WeightsFile]:
        tensors = {name: parameter.data for name, parameter in self._pair.named_parameters()}
        return {FILE: WeightsFile(tensors, {ATTRIBUTE: json.dumps(self._header, sort_keys=True)})}

    def load(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        copy_into(self.files(), files)

    def change(self) -> dict[str, Change]:
        return {}

    def train(self, mode: bool) -> None:
        self._pair.train(mode)

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        delattr(self._unet, ATTRIBUTE)


def attach(model: StableDiffusion, spec: HypernetworkAdapter, *, seed: int) -> Hypernetwork:
    """A pair of MLPs over the width of the text.

    Raises:
        ValueError: a hidden layer would have no unit, or the UNet has no cross-attention.
    """
    if not cross_attentions(model.unet):
        raise ValueError("a hypernetwork works on cross-attention, and this UNet has none; use a model that is conditioned on text")
    width = int(model.unet.config.cross_attention_dim)
    hidden = [round(multiple * width) for multiple in spec.widths]
    if 0 in hidden:
        least = spec.widths[hidden.index(0)]
        raise ValueError(
            f"the width {least:g} of a hypernetwork gives a layer of 0 units; the text is {width} wide, so give {1 / width:g} or more"
        )
    with torch.random.fork_rng(devices=[]):  # the layers' own start draws from torch's global generator; ours takes its place
        pair = nn.ModuleDict({name: ContextMLP(width, hidden, spec) for name in ("key", "value")})
    _initialise(pair, spec, seed)
    pair.to(model.device, model.dtype)
    return Hypernetwork(model.unet, pair, {"width": width, **spec.model_dump(mode="json")})


def cross_attentions(unet: nn.Module) -> list[nn.Module]:
    """The attention layers whose keys and values are made of the text."""
    return [layer for layer in unet.modules() if getattr(layer, "is_cross_attention", False)]


def _before(mlp: nn.Module) -> Any:
    """A hook that puts the context through an MLP before a projection sees it; whatever stands there, a LoRA's layer too."""

    def through(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (mlp(given[0]), *given[1:])

    return through


@torch.no_grad()
def _initialise(pair: nn.ModuleDict, spec: HypernetworkAdapter, seed: int) -> None:
    """Linear layers by the spec, from streams of (seed, name); normalisations as torch has them. Biases are zero."""
    for name, layer in pair.named_modules():
        if not isinstance(layer, nn.Linear):
            continue
        layer.bias.zero_()
        if spec.init == "normal":
            layer.weight.copy_(NORMAL_STD * keyed_noise(layer.weight.shape, "hypernetwork", seed, name))
        elif name.endswith(f".{len(spec.widths)}"):
            layer.weight.zero_()
        else:
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator("hypernetwork", seed, name))
