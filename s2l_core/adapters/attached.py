"""Attaching adapters to a model, saving what was trained, and attaching it again."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import AdapterSpec

_SPECS: TypeAdapter[tuple[AdapterSpec, ...]] = TypeAdapter(tuple[AdapterSpec, ...])


class Part(Protocol):
    """One adapter on one model."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by the name it has in the file."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What is saved, by name."""
        ...

    def metadata(self) -> dict[str, Any]:
        """What readers of the ecosystem's LoRA format want in the file's header."""
        ...

    def train(self, mode: bool) -> None:
        """Switch dropout of the adapter's own layers."""
        ...

    def detach(self) -> None:
        """Leave the model as it was, to the bit."""
        ...


class Attached:
    """Adapters that are on a model now. As a context manager it takes them off again, whatever happened."""

    def __init__(self, model: StableDiffusion, specs: tuple[AdapterSpec, ...], parts: list[Part]) -> None:
        self.model = model
        self.specs = specs
        self._parts = parts
        self._required = [(value, value.requires_grad) for module in model.modules().values() for value in module.parameters()]
        for value, _ in self._required:
            value.requires_grad_(False)

    def parameters(self) -> dict[str, nn.Parameter]:
        """All that is trained, by name."""
        return {name: parameter for part in self._parts for name, parameter in part.parameters().items()}

    def state(self) -> dict[str, Tensor]:
        """All that is saved, on the CPU, by name."""
        return {name: value.detach().cpu().contiguous() for part in self._parts for name, value in part.state().items()}

    def metadata(self) -> dict[str, str]:
        """The file's header. One entry at most: safetensors writes several in any order, and equal adapters must be equal bytes."""
        packed = {name: value for part in self._parts for name, value in part.metadata().items()}
        return {"lora_adapter_metadata": json.dumps(packed, sort_keys=True)} if packed else {}

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


def attach(model: StableDiffusion, adapters: Sequence[AdapterSpec], *, seed: int) -> Attached:
    """Put adapters on a model. Their initial values depend on `seed` and their names alone.

    Raises:
        ValueError: an adapter does not fit the model or another adapter; the text says which layer, and what would.
    """
    found = Attached(model, tuple(adapters), [])
    try:
        for place, spec in enumerate(adapters):
            _check_place(spec, adapters[:place])
            module = importlib.import_module(f"s2l_core.adapters.{spec.kind.replace('-', '_')}")
            found._parts.append(module.attach(model, spec, seed=seed))
    except BaseException:
        found.detach()
        raise
    return found


def _check_place(spec: AdapterSpec, before: Sequence[AdapterSpec]) -> None:
    kinds = [other.kind for other in before]
    if spec.kind in kinds:
        raise ValueError(f"adapter {spec.kind} is given twice; allowed: each kind once")
    if spec.kind == "dense" and "lora" in kinds:
        raise ValueError("adapter dense comes after lora and would train its layers too; give dense first")


def save(attached: Attached, folder: Path) -> None:
    """Write `adapter.safetensors` and `adapter.json`."""
    save_file(attached.state(), folder / "adapter.safetensors", metadata=attached.metadata() or None)
    specs = _SPECS.dump_python(attached.specs, mode="json")
    (folder / "adapter.json").write_text(json.dumps({"adapters": specs}, sort_keys=True, indent=1) + "\n", encoding="utf-8")


def attach_saved(model: StableDiffusion, folder: Path) -> Attached:
    """Put saved adapters on a model.

    Raises:
        ValueError: the file was made for another base, or is not what its `adapter.json` says.
    """
    specs = _SPECS.validate_python(json.loads((folder / "adapter.json").read_text(encoding="utf-8"))["adapters"])
    found = attach(model, specs, seed=0)
    try:
        _fill(found, load_file(folder / "adapter.safetensors"), folder)
    except BaseException:
        found.detach()
        raise
    return found


@contextmanager
def attached(model: StableDiffusion, folder: Path | None) -> Iterator[StableDiffusion]:
    """The model with saved adapters on it, or as it is when there is no folder."""
    if folder is None:
        yield model
        return
    with attach_saved(model, folder):
        yield model


def _fill(attached: Attached, saved: dict[str, Tensor], folder: Path) -> None:
    targets = {name: value for part in attached._parts for name, value in part.state().items()}
    if set(targets) != set(saved):
        odd = sorted(set(targets) ^ set(saved))
        raise ValueError(f"{folder}: the weights are for another base model: {len(odd)} names differ, such as {odd[0]}")
    for name, value in saved.items():
        if targets[name].shape != value.shape:
            wanted, got = tuple(targets[name].shape), tuple(value.shape)
            raise ValueError(f"{folder}: the weights are for another base model: {name} is {got}, the model's is {wanted}")
    with torch.no_grad():
        for name, value in saved.items():
            targets[name].copy_(value)
