"""What every adapter is to the rest: a part that is on a model, with its parameters, its files and its way off again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

Change = Callable[[], Tensor]
"""What a weight of the base was changed by, float64, in the weight's shape; computed when asked for, one weight at a time."""


@dataclass(frozen=True)
class WeightsFile:
    """One safetensors file of an adapter.

    Attributes:
        tensors: as they are on the model, by their name in the file.
        header: text for readers. One entry at most: safetensors writes several in any order, and equal adapters must be equal bytes.
    """

    tensors: dict[str, Tensor]
    header: dict[str, str] = field(default_factory=dict)


class Part(Protocol):
    """One adapter on one model."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name; a name starts with the module's ("unet.", "text_encoder.", "vae.")."""
        ...

    def files(self) -> dict[str, WeightsFile]:
        """What is saved, by the file's name."""
        ...

    def load(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take saved tensors, whose names and shapes are those of `files()`.

        Raises:
            ValueError: they are for another base model.
        """
        ...

    def change(self) -> dict[str, Change]:
        """What it changes about weights of the base, by their name; new weights of its own are no change."""
        ...

    def train(self, mode: bool) -> None:
        """Switch dropout of the adapter's own layers."""
        ...

    def detach(self) -> None:
        """Leave the model as it was, to the bit."""
        ...


@torch.no_grad()
def copy_into(targets: Mapping[str, WeightsFile], saved: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Put saved values into the tensors on the model, which stay the same objects."""
    for name, file in targets.items():
        for tensor, target in file.tensors.items():
            target.copy_(saved[name][tensor])


def name_in_file(module: str, name: str) -> str:
    """The name of a module's weight in the ecosystem's files.

    CLIP's text encoder lost its inner `text_model` in transformers 5.6. Files keep it: new readers take it off, old ones need it.
    """
    return f"text_model.{name.removeprefix('text_model.')}" if module == "text_encoder" else name
