"""Named methods and prompts: the published settings, and what is still to come."""

from __future__ import annotations

from dataclasses import dataclass

from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, LoraAdapter, NoAdapter
from s2l_core.specs.objectives import DenoiseObjective, DreamBoothObjective, ObjectiveSpec
from s2l_core.specs.synthesis import PromptTemplate

PUBLISHED_EPOCHS = 100
PUBLISHED_LR = 1e-6


@dataclass(frozen=True)
class MethodPreset:
    """What is trained and how, with the published batch size (arXiv 2403.09450: lr 1e-6, 100 epochs, weight decay 1e-2, clip 1)."""

    adapters: tuple[AdapterSpec, ...]
    objective: ObjectiveSpec
    batch: int
    words: str


METHODS: dict[str, MethodPreset] = {
    "none": MethodPreset((NoAdapter(),), DenoiseObjective(), 4, "nothing is trained: the baseline"),
    "dreambooth": MethodPreset((DenseAdapter(),), DreamBoothObjective(), 4, "UNet and text encoder, one instance prompt for all images"),
    "lora": MethodPreset((LoraAdapter(),), DenoiseObjective(), 4, "LoRA on UNet and text encoder, each image with its own prompt"),
    "lora+dreambooth": MethodPreset((LoraAdapter(),), DreamBoothObjective(), 2, "the same LoRA, one instance prompt for all images"),
}

METHODS_TO_COME = (
    "end2end",
    "textual-inversion",
    "textual-inversion+lora",
    "textual-inversion+dreambooth",
    "hypernetwork",
    "hypernetwork+dreambooth",
    "gaussian",
)

PROMPTS: dict[str, tuple[PromptTemplate, ...]] = {
    "photo": (PromptTemplate(text="photo of {name}"),),
    "photo-and-face": (PromptTemplate(text="photo of {name}"), PromptTemplate(text="face of {name}")),
}
