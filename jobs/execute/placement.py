"""How much of a GPU a unit takes: an estimate of its memory, corrected by what like stages took, rounded up to a few sizes. Pure functions.

The estimate is rough and errs on the large side; where it errs on the small side, an out-of-memory halves the micro-batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jobs.stages.specs import ShakeStage, SpStage, StageSpec
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, HypernetworkAdapter, LoraAdapter, TextualInversionAdapter

SIZES = (0.125, 0.25, 0.5, 1.0)
"""Few, because Tune's actors, and the models they keep loaded, are reused by units of the same size alone."""
GIB = 2**30
CONTEXT_BYTES = 1 * GIB
"""What CUDA and its libraries take before anything is computed."""
HEADROOM = 1.15
"""On what was measured; the allocator's gaps differ from run to run."""

F32 = 4
TRAINED_UNET, TRAINED_VAE = 720, 100
"""Activations that wait for the way back, in floats per pixel and channel of the widest level: twice what a count over Stable Diffusion v1
on torch's meta device gives (360 with memory-efficient attention; 68 for its autoencoder)."""
RECOMPUTED = 0.4
ANSWERED_UNET, ANSWERED_VAE = 60, 8
"""The same for a pass without a way back."""
DECODED_PIXELS = 2**20
ENCODED_TOGETHER = 16
DRAWN = ("sp", "prior", "extract", "memorisation")
BATCHES = {"sp": 32, "prior": 32, "score": 32, "extract": 32, "memorisation": 64, "fidelity": 32, "captions": 16}
"""Examples that pass the network at once, by stage; those drawn with guidance count twice. A stage that is not here, nor a shake, needs no
GPU."""


@dataclass(frozen=True)
class Shape:
    """What a unit takes: bundles of one placement group, one a process."""

    processes: int = 1
    gpu_share: float = 0.0

    @property
    def gpus(self) -> float:
        return self.processes * self.gpu_share

    def bundles(self) -> list[dict[str, float]]:
        return [{"CPU": 1, "GPU": self.gpu_share} for _ in range(self.processes)]


@dataclass(frozen=True)
class ModelSize:
    """What is known of a model without loading it.

    Attributes:
        weights: module -> shapes of its weights, by name.
        latent_side: of the square of latents that it draws.
        factor: pixels per latent, along one side.
    """

    weights: Mapping[str, Mapping[str, tuple[int, ...]]]
    latent_side: int
    factor: int

    def count(self, modules: Iterable[str] | None = None) -> int:
        """Parameters of the modules; of all by default."""
        wanted = self.weights if modules is None else [module for module in modules if module in self.weights]
        return sum(math.prod(shape) for module in wanted for shape in self.weights[module].values())

    def width(self, module: str) -> int:
        """Channels of the level with the most pixels."""
        ends = "conv_in.weight"
        return max((shape[0] for name, shape in self.weights.get(module, {}).items() if name.endswith(ends)), default=0)


@dataclass(frozen=True)
class Variant:
    """How a stage is run."""

    processes: int = 1
    micro_batch: int | None = None
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class Peak:
    """What a stage took on a GPU, beside the estimate for it."""

    kind: str
    estimated: int
    measured: int


def trains(spec: StageSpec) -> bool:
    """True for a shake that fits something."""
    return isinstance(spec, ShakeStage) and any(adapter.kind not in ("none", "gaussian") for adapter in spec.adapters)


def estimate(spec: StageSpec, model: ModelSize | None, variant: Variant, models_kept: int = 1) -> int:
    """Bytes of GPU memory that a process needs for the stage; 0 for one that needs no GPU, or of whose model nothing is known.

    Args:
        models_kept: how many models a worker keeps loaded.
    """
    kind = str(getattr(spec, "kind", ""))
    if model is None or (kind != "shake" and kind not in BATCHES):
        return 0
    loaded = F32 * model.count() * models_kept + CONTEXT_BYTES
    if isinstance(spec, ShakeStage):
        return loaded + (_fit_bytes(spec, model, variant) if trains(spec) else 0)
    return loaded + _answer_bytes(spec, kind, model, variant)


def calibrated(kind: str, estimated: int, peaks: Sequence[Peak]) -> int:
    """The estimate, corrected by what stages of that kind took.

    Stages with the same estimate are alike: the largest of their peaks, with some room, takes its place. Other stages of the kind tell how
    far estimates were off; the one that was furthest under counts, and none makes an estimate smaller by more than half.
    """
    of_kind = [peak for peak in peaks if peak.kind == kind and peak.estimated > 0]
    alike = [peak.measured for peak in of_kind if peak.estimated == estimated]
    if not estimated or not of_kind:
        return estimated
    if alike:
        return math.ceil(max(alike) * HEADROOM)
    off = max(peak.measured / peak.estimated for peak in of_kind)
    return math.ceil(estimated * max(off * HEADROOM, 0.5))


def share_of(needed: int, gpu_memory: int) -> float:
    """The smallest size with that much memory; a whole GPU where none has, 0 for what needs none."""
    if not needed:
        return 0.0
    return next((size for size in SIZES if size * gpu_memory >= needed), SIZES[-1])


def _fit_bytes(spec: ShakeStage, model: ModelSize, variant: Variant) -> int:
    training = spec.training
    trained = sum(_trained(adapter, model) for adapter in spec.adapters)
    moments = 2 if training.optimizer == "adamw8bit" else 2 * F32
    copies = sum(isinstance(adapter, DenseAdapter) for adapter in spec.adapters) + (training.ema is not None) + (spec.defence is not None)
    share = math.ceil(training.batch_size / variant.processes)
    together = 1 if spec.defence is not None and spec.defence.kind in ("dp", "clip-noise") else min(share, variant.micro_batch or share)
    half = training.precision != "fp32"
    recomputed = RECOMPUTED if variant.gradient_checkpointing else 1.0
    activations = together * _trained_example(spec, model) * (0.5 if half else 1.0) * recomputed
    half_weights = F32 // 2 * model.count() if half else 0
    return math.ceil(trained * (F32 + moments + copies * F32) + half_weights + activations)


def _trained_example(spec: ShakeStage, model: ModelSize) -> float:
    terms = 2 if getattr(spec.objective, "prior", None) is not None else 1
    unet = TRAINED_UNET * model.latent_side**2 * model.width("unet") * F32
    pixels = (model.latent_side * model.factor) ** 2
    vae = TRAINED_VAE * pixels * model.width("vae") * F32 if spec.objective.kind == "end-to-end" else 0
    return terms * unet + vae


def _answer_bytes(spec: StageSpec, kind: str, model: ModelSize, variant: Variant) -> int:
    guided = isinstance(spec, SpStage) and spec.synthesis.guidance not in (0, 1)
    batch = BATCHES[kind] if kind not in ("sp", "prior") or guided else BATCHES[kind] // 2
    batch = min(batch, variant.micro_batch or batch)
    unet = batch * ANSWERED_UNET * model.latent_side**2 * model.width("unet") * F32
    pixels = (model.latent_side * model.factor) ** 2
    seen = max(DECODED_PIXELS, pixels) if kind in DRAWN else ENCODED_TOGETHER * pixels
    vae = seen * ANSWERED_VAE * model.width("vae") * F32
    return max(unet, vae)


def _trained(adapter: AdapterSpec, model: ModelSize) -> int:
    """How many numbers an adapter trains."""
    text = max((shape[-1] for name, shape in _named(model, "text_encoder") if name.endswith("token_embedding.weight")), default=0)
    if isinstance(adapter, DenseAdapter):
        return model.count(adapter.modules)
    if isinstance(adapter, LoraAdapter):
        targets = {"unet": adapter.unet_targets, "text_encoder": adapter.text_encoder_targets, "vae": adapter.vae_targets}
        return sum(_low_rank(model, module, names, adapter.rank) for module, names in targets.items())
    if isinstance(adapter, TextualInversionAdapter):
        return len(adapter.tokens) * text
    if isinstance(adapter, HypernetworkAdapter):
        sizes = [text, *(round(multiple * text) for multiple in adapter.widths), text]
        return 2 * sum(size * following + following for size, following in pairwise(sizes))
    return 0


def _low_rank(model: ModelSize, module: str, targets: Sequence[str], rank: int) -> int:
    ends = tuple(f"{target}.weight" for target in targets)
    shapes = [shape for name, shape in _named(model, module) if ends and f".{name}".endswith(tuple(f".{end}" for end in ends))]
    return sum(rank * (shape[0] + math.prod(shape[1:])) for shape in shapes if len(shape) > 1)


def _named(model: ModelSize, module: str) -> list[tuple[str, Any]]:
    return list(model.weights.get(module, {}).items())
