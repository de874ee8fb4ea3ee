"""Low-rank updates on named projections (arXiv 2106.09685), through peft; saved so that diffusers reads them."""

from __future__ import annotations

import difflib
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from s2l_core.adapters.part import Change, WeightsFile, copy_into, name_in_file
from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import generator
from s2l_core.specs.adapters import LoraAdapter

if TYPE_CHECKING:
    from peft import LoraConfig

NAME = "default"
PIPELINE_FILE = "pytorch_lora_weights.safetensors"
"""UNet and text encoder, as `load_lora_weights` of a pipeline reads them."""
VAE_FILE = "vae_lora.safetensors"
"""The autoencoder's, which a pipeline does not read: `pipeline.vae.load_lora_adapter` does, with `prefix=None`."""


class Lora:
    """LoRA layers in the networks of one model."""

    def __init__(self, modules: dict[str, nn.Module], configs: dict[str, LoraConfig], seed: int) -> None:
        from peft import inject_adapter_in_model

        self._modules = modules
        self._configs = configs
        required = {id(parameter): parameter.requires_grad for module in modules.values() for parameter in module.parameters()}
        try:
            for name, module in modules.items():
                inject_adapter_in_model(configs[name], module, adapter_name=NAME)
        except BaseException:
            self.detach()  # of what is in place already
            raise
        for module in modules.values():
            for parameter in module.parameters():  # peft freezes whatever is not LoRA; another adapter may train it
                parameter.requires_grad_(required.get(id(parameter), True))
        self._parameters = {
            f"{module}.{name.replace(f'.{NAME}.', '.')}": parameter
            for module, network in modules.items()
            for name, parameter in network.named_parameters()
            if f".{NAME}." in name and ".lora_" in name
        }
        _initialise(self._parameters, seed)
        self.train(False)

    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self._parameters)

    def files(self) -> dict[str, WeightsFile]:
        tensors: dict[str, dict[str, Tensor]] = defaultdict(dict)
        facts: dict[str, dict[str, Any]] = defaultdict(dict)
        for name, parameter in self._parameters.items():
            module, _, rest = name.partition(".")
            file, prefix = _place(module)
            tensors[file][prefix + name_in_file(module, rest)] = parameter.data
        for module, config in self._configs.items():
            file, prefix = _place(module)
            facts[file] |= {prefix + key: value for key, value in _facts(config).items()}
        return {name: WeightsFile(tensors[name], {"lora_adapter_metadata": json.dumps(facts[name], sort_keys=True)}) for name in tensors}

    def load(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        copy_into(self.files(), files)

    def change(self) -> dict[str, Change]:
        return {
            f"{module}.{name}.weight": partial(_product, layer)
            for module, network in self._modules.items()
            for name, layer in _tuner_layers(network).items()
        }

    def train(self, mode: bool) -> None:
        for module in self._modules.values():
            for layer in _tuner_layers(module).values():
                layer.lora_dropout.train(mode)

    def detach(self) -> None:
        for module in self._modules.values():
            for name, layer in _tuner_layers(module).items():
                parent, _, last = name.rpartition(".")
                setattr(module.get_submodule(parent), last, layer.get_base_layer())
            for attribute in ("peft_config", "_hf_peft_config_loaded"):
                if attribute in vars(module):
                    delattr(module, attribute)


def attach(model: StableDiffusion, spec: LoraAdapter, *, seed: int) -> Lora:
    """LoRA on the named projections and convolutions of UNet, text encoder and autoencoder.

    Raises:
        ValueError: a name matches no layer, or the rank is larger than one's; the text names the nearest, or the largest rank.
    """
    from peft import LoraConfig

    wanted = {"unet": spec.unet_targets, "text_encoder": spec.text_encoder_targets, "vae": spec.vae_targets}
    modules = {name: model.modules()[name] for name, targets in wanted.items() if targets}
    if not modules:
        raise ValueError("a LoRA needs at least one target; got none for the unet, none for the text_encoder and none for the vae")
    for name, module in modules.items():
        _check_targets(name, module, wanted[name], spec.rank)
    configs = {
        name: LoraConfig(
            r=spec.rank, lora_alpha=spec.alpha, lora_dropout=spec.dropout, target_modules=sorted(wanted[name]), init_lora_weights=False
        )
        for name in modules
    }
    return Lora(modules, configs, seed)


def _check_targets(name: str, module: nn.Module, targets: tuple[str, ...], rank: int) -> None:
    layers = dict(module.named_modules())
    known = sorted({path.rpartition(".")[2] for path, layer in layers.items() if _projects(layer)} - {""})
    for target in targets:
        named = {path: layer for path, layer in layers.items() if path == target or path.endswith(f".{target}")}
        matched = {path: layer for path, layer in named.items() if _projects(layer)}
        if not matched:
            near = difflib.get_close_matches(target, known, n=3, cutoff=0.0)
            raise ValueError(f"no projection of the {name} is called {target!r}; the nearest are {', '.join(near)}")
        if other := next((path for path in named if path not in matched), None):
            told = f"{name}.{other} ({type(layers[other]).__name__})"
            raise ValueError(f"{target!r} names {told} too, which is no projection; give more of the name, such as {min(matched)}")
        path, size = min(((path, _largest_rank(layer)) for path, layer in matched.items()), key=lambda found: found[1])
        if rank > size:
            raise ValueError(f"rank {rank} is larger than {name}.{path}, whose rank is {size} at most; give a rank of 1 to {size}")


def _projects(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d)


def _largest_rank(layer: nn.Module) -> int:
    """The rank of the matrix [outputs, all that one output sees]."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return min(weight.shape[0], weight[0].numel())


def _initialise(parameters: dict[str, nn.Parameter], seed: int) -> None:
    """A as peft draws it (Kaiming uniform, a = sqrt 5), from a stream of (seed, name); B zero, so that nothing changes at first."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            if ".lora_A." in name:
                fresh = torch.empty(parameter.shape, dtype=torch.float32)
                nn.init.kaiming_uniform_(fresh, a=math.sqrt(5), generator=generator("lora", seed, name))
                parameter.copy_(fresh)
            else:
                parameter.zero_()


def _product(layer: Any) -> Tensor:
    """alpha / rank * B A in the shape of the layer's weight; a convolution's A and B are its kernels, B's of size 1."""
    down, up = layer.lora_A[NAME].weight.detach().double(), layer.lora_B[NAME].weight.detach().double()
    made: Tensor = layer.scaling[NAME] * (up.flatten(1) @ down.flatten(1))
    return made.reshape(layer.get_base_layer().weight.shape)


def _facts(config: LoraConfig) -> dict[str, Any]:
    """What diffusers makes its `LoraConfig` from; without it, it would take the rank for alpha."""
    plain = {**config.to_dict(), "target_modules": sorted(config.target_modules)}
    return {key: plain[key] for key in ("r", "lora_alpha", "lora_dropout", "target_modules")}


def _tuner_layers(module: nn.Module) -> dict[str, Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: layer for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)}


def _place(module: str) -> tuple[str, str]:
    """The file a module's LoRA is in, and what its names begin with there."""
    return (VAE_FILE, "") if module == "vae" else (PIPELINE_FILE, f"{module}.")
