"""Images to shake the small model with, and one way to do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, encode_png
from s2l_core.randomness import keyed_noise
from s2l_core.shake import Shaken, shake
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, LoraAdapter
from s2l_core.specs.defences import DefenceSpec
from s2l_core.specs.objectives import DenoiseObjective, DreamBoothObjective, EndToEndObjective, ObjectiveSpec, PriorPreservation
from s2l_core.specs.training import TrainSpec
from s2l_core.training.batch import Batch
from s2l_core.training.fit import Curve

TRAINING = TrainSpec(steps=4, batch_size=4, lr=1e-2)
DENOISE = DenoiseObjective()
PRIOR = DreamBoothObjective(prior=PriorPreservation(weight=0.5, class_prompt="photo"))
LORA = (LoraAdapter(rank=2, alpha=2),)
DENSE = (DenseAdapter(),)
UNET = (DenseAdapter(modules=("unet",)),)
ALL = (DenseAdapter(modules=("unet", "text_encoder", "vae")),)


def record(number: int, text: str) -> ImageRecord:
    pixels = (keyed_noise((16, 16, 3), "pixels", number) * 60 + 128).clamp(0, 255).byte().numpy()
    return ImageRecord(f"image-{number}", encode_png(pixels), text, "ada", None)


RECORDS = [record(number, ("photo of ada", "face of ada", "ada")[number % 3]) for number in range(6)]
CLASS = [record(number, "not used") for number in range(100, 103)]


def objective_for(adapters: Sequence[AdapterSpec]) -> ObjectiveSpec:
    """The plain objective that goes with adapters."""
    in_vae = any(
        "vae" in adapter.modules if isinstance(adapter, DenseAdapter) else isinstance(adapter, LoraAdapter) and adapter.vae_targets
        for adapter in adapters
    )
    return EndToEndObjective() if in_vae else DENOISE


def shaken(
    model: StableDiffusion,
    adapters: Sequence[AdapterSpec] = LORA,
    objective: ObjectiveSpec = DENOISE,
    training: TrainSpec = TRAINING,
    *,
    seed: int = 1,
    records: Sequence[ImageRecord] = RECORDS,
    **options: Any,
) -> tuple[dict[str, Tensor], Curve]:
    """What is saved of a shake, and its curve; the model is as it was again."""
    prior = CLASS if objective == PRIOR else None
    found = shake(model, records, adapters=adapters, objective=objective, training=training, name="ada", seed=seed, prior=prior, **options)
    with found.on as on:
        return {name: value.clone() for name, value in on.state().items()}, found.curve


def guarded(
    model: StableDiffusion,
    defence: DefenceSpec | None,
    adapters: Sequence[AdapterSpec] = UNET,
    objective: ObjectiveSpec = DENOISE,
    records: Sequence[ImageRecord] = RECORDS,
    **options: Any,
) -> Shaken:
    """A shake whose adapters are off again; its curve and its facts are left."""
    options = {"training": TRAINING, **options}
    found = shake(model, records, adapters=adapters, objective=objective, name="ada", seed=1, defence=defence, **options)
    found.on.detach()
    return found


def whole_batch(step: int, size: int) -> Batch:
    return Batch(step, torch.arange(size), torch.arange(size), size, seed=3)
