"""Low-rank updates on named projections (arXiv 2106.09685), through peft; saved so that diffusers' `load_lora_weights` reads them."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import generator
from s2l_core.specs.adapters import LoraAdapter

if TYPE_CHECKING:
    from peft import LoraConfig

NAME = "default"


class Lora:
    """LoRA layers in the UNet and the text encoder of one model."""

    def __init__(self, modules: dict[str, nn.Module], configs: dict[str, LoraConfig], seed: int) -> None:
        from peft import inject_adapter_in_model

        self._modules = modules
        self._configs = configs
        required = {id(parameter): parameter.requires_grad for module in modules.values() for parameter in module.parameters()}
        for name, module in modules.items():
            inject_adapter_in_model(configs[name], module, adapter_name=NAME)
            for parameter in module.parameters():  # peft freezes whatever is not LoRA; another adapter may train it
                parameter.requires_grad_(required.get(id(parameter), True))
        self._parameters = {
            _file_name(module, name): parameter
            for module, network in modules.items()
            for name, parameter in network.named_parameters()
            if f".{NAME}." in name and ".lora_" in name
        }
        _initialise(self._parameters, seed)
        self.train(False)

    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self._parameters)

    def state(self) -> dict[str, Tensor]:
        return {name: parameter.data for name, parameter in self._parameters.items()}

    def metadata(self) -> dict[str, Any]:
        """What diffusers makes its `LoraConfig` from; without it, it would take the rank for alpha."""
        kept = ("r", "lora_alpha", "lora_dropout", "target_modules")
        plain = {name: {**config.to_dict(), "target_modules": sorted(config.target_modules)} for name, config in self._configs.items()}
        return {f"{name}.{key}": config[key] for name, config in plain.items() for key in kept}

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
    """LoRA on the named projections of UNet and text encoder.

    Raises:
        ValueError: a name matches no projection, or the rank is larger than one; the text names the nearest, or the largest rank.
    """
    from peft import LoraConfig

    wanted = {"unet": spec.unet_targets, "text_encoder": spec.text_encoder_targets}
    modules = {name: model.modules()[name] for name, targets in wanted.items() if targets}
    if not modules:
        raise ValueError("a LoRA needs at least one target; got none for the unet and none for the text_encoder")
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
    layers = {path: layer for path, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    known = sorted({path.rpartition(".")[2] for path in layers} - {""})
    for target in targets:
        matched = {path: layer for path, layer in layers.items() if path == target or path.endswith(f".{target}")}
        if not matched:
            near = difflib.get_close_matches(target, known, n=3, cutoff=0.0)
            raise ValueError(f"no projection of the {name} is called {target!r}; the nearest are {', '.join(near)}")
        path, size = min(((path, min(layer.weight.shape[:2])) for path, layer in matched.items()), key=lambda found: found[1])
        if rank > size:
            raise ValueError(f"rank {rank} is larger than {name}.{path}, whose rank is {size} at most; give a rank of 1 to {size}")


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


def _tuner_layers(module: nn.Module) -> dict[str, Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: layer for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)}


def _file_name(module: str, name: str) -> str:
    return f"{module}.{name.replace(f'.{NAME}.', '.')}"
