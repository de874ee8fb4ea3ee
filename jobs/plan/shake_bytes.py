"""How many bytes the weights of a grid's shakes take, by retention policy, before anything is run. No torch, no tensor is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Protocol, get_args

from jobs.grid.shapes import OLD_NAMES, weight_shapes
from jobs.ledger.manifest import Manifest
from jobs.ledger.retention import droppable
from jobs.plan.graph import Node
from jobs.plan.plan import Plan
from jobs.stages.specs import BaseStage, FolderModel, PackagedModel, ShakeStage
from s2l_core.specs.adapters import (
    AdapterSpec,
    DenseAdapter,
    GaussianAdapter,
    HypernetworkAdapter,
    LoraAdapter,
    Module,
    TextualInversionAdapter,
)
from s2l_core.tiny import packaged

Shapes = dict[str, tuple[int, ...]]
_FLOAT = 4
_HEADER = 128
"""A tensor's line in a file's header, about."""
_GAUSSIAN = 2 * (8 + 110)
"""Two numbers for each tensor of the base, each a tensor of its own."""
_TABLE = "token_embedding.weight"
_CONTEXT = "attn2.to_k.weight"


@dataclass(frozen=True)
class Weights:
    """Bytes of one shake's weights: of dense ones, and of all others."""

    dense: int
    small: int


@dataclass(frozen=True)
class StoredBytes:
    """What the weights of a plan's distinct shakes take.

    Attributes:
        none, small, all: bytes under each policy.
        measured: shakes whose sizes come from one that the ledger holds, with the same base and adapters.
        unknown: shakes in none of the sums: neither is there such a one, nor are the base's weights on this machine.
    """

    none: int
    small: int
    all: int
    shakes: int
    measured: int
    unknown: int


class CommittedShakes(Protocol):
    """The part of a ledger that is asked."""

    def committed(self, kind: str) -> set[str]: ...

    def manifest(self, kind: str, key: str) -> Manifest | None: ...


def stored_bytes(plan: Plan, ledger: CommittedShakes) -> StoredBytes:
    """The bytes of each policy: measured where the ledger holds a shake of equal shape, else computed from the base's headers."""
    shakes = [node for node in plan.nodes() if isinstance(node.spec, ShakeStage)]
    same = _Same()
    shapes = [same.of(node) for node in shakes]
    alike = Counter(shapes)
    done = ledger.committed("shake") if shakes else set()
    examples = dict(zip(shapes, shakes, strict=True))
    examples |= {shape: node for shape, node in zip(shapes, shakes, strict=True) if node.key in done}
    bases: dict[str, BaseShapes | None] = {}
    dense = small = measured = unknown = 0
    for shape, number in alike.items():
        node = examples[shape]
        weights = _measured(ledger.manifest("shake", node.key)) if node.key in done else None
        measured += number if weights else 0
        weights = weights or _computed(plan, node, bases)
        if weights is None:
            unknown += number
            continue
        dense, small = dense + number * weights.dense, small + number * weights.small
    return StoredBytes(0, small, dense + small, len(shakes), measured, unknown)


class _Same:
    """Tells shakes of one base and with equal adapters by a small value; hashing ten thousand specs would take seconds."""

    def __init__(self) -> None:
        self._by_id: dict[tuple[int, ...], int] = {}
        self._numbers: dict[tuple[AdapterSpec, ...], int] = {}

    def of(self, node: Node) -> tuple[str, int]:
        base = node.parent("base")
        assert base is not None
        assert isinstance(node.spec, ShakeStage)
        adapters = node.spec.adapters
        ids = tuple(map(id, adapters))  # specs of a plan live as long as it does
        if ids not in self._by_id:
            self._by_id[ids] = self._numbers.setdefault(adapters, len(self._numbers))
        return base.key, self._by_id[ids]


def _measured(manifest: Manifest | None) -> Weights | None:
    if manifest is None:
        return None
    whole = sum(payload.size for payload in droppable(manifest, "none"))
    dense = sum(payload.size for payload in droppable(manifest, "small"))
    return Weights(dense, whole - dense)


def _computed(plan: Plan, node: Node, bases: dict[str, BaseShapes | None]) -> Weights | None:
    base = node.parent("base")
    assert base is not None
    assert isinstance(node.spec, ShakeStage)
    if base.key not in bases:
        folder = _folder(plan, base)
        bases[base.key] = BaseShapes(folder) if folder is not None and folder.is_dir() else None
    known = bases[base.key]
    return None if known is None else known.weights(node.spec.adapters)


def _folder(plan: Plan, base: Node) -> Path | None:
    source = base.spec.source if isinstance(base.spec, BaseStage) else None
    if isinstance(source, PackagedModel):
        return packaged(source.name)
    return plan.inputs.get(source.content) if isinstance(source, FolderModel) else None


class BaseShapes:
    """The shapes of a base model's tensors, read from safetensors headers once for each network."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shapes: dict[str, Shapes] = {}

    def weights(self, adapters: tuple[AdapterSpec, ...]) -> Weights | None:
        """What files with these adapters take; None where a header cannot be read."""
        dense = small = 0
        for adapter in adapters:
            try:
                size = self._of(adapter)
            except (OSError, ValueError):
                return None
            if isinstance(adapter, DenseAdapter):
                dense += size
            else:
                small += size
        return Weights(dense, small)

    def _of(self, adapter: AdapterSpec) -> int:
        match adapter:
            case DenseAdapter():
                return sum(_tensor(shape) for module in adapter.modules for shape in self.of(module).values())
            case LoraAdapter():
                return sum(self._lora(adapter))
            case TextualInversionAdapter():
                width = next(shape[1] for name, shape in self.of("text_encoder").items() if name.endswith(_TABLE))
                return len(adapter.tokens) * _tensor((width,))
            case HypernetworkAdapter():
                width = next(shape[1] for name, shape in self.of("unet").items() if name.endswith(_CONTEXT))
                return 2 * sum(_mlp(width, [round(multiple * width) for multiple in adapter.widths], adapter.layer_norm))
            case GaussianAdapter():
                return sum(_GAUSSIAN for module in adapter.modules for _ in self.of(module))
            case _:
                return 0

    def of(self, module: Module) -> Shapes:
        """Name -> shape of a network's tensors.

        Raises:
            ValueError: there are no safetensors of it.
        """
        if module not in self._shapes:
            files = sorted((self._folder / module).glob("*.safetensors"))
            if not files:
                raise ValueError(f"{module} has no safetensors")
            found = {name: shape for file in files for name, shape in weight_shapes(file).items()}
            self._shapes[module] = {name: shape for name, shape in found.items() if not name.endswith("position_ids")}
        return self._shapes[module]

    def _lora(self, adapter: LoraAdapter) -> Iterator[int]:
        targets = adapter.unet_targets, adapter.text_encoder_targets, adapter.vae_targets
        for module, names in zip(get_args(Module), targets, strict=True):
            for tensor, shape in self.of(module).items() if names else ():
                layer = _layer(module, tensor)
                if layer is not None and len(shape) in (2, 4) and any(layer == name or layer.endswith(f".{name}") for name in names):
                    yield _tensor((adapter.rank, prod(shape[1:]))) + _tensor((shape[0], adapter.rank))


def _layer(module: str, tensor: str) -> str | None:
    """The layer whose weight a tensor is, as diffusers calls it; None for biases, norms' shifts and embeddings."""
    layer, _, last = tensor.rpartition(".")
    if last != "weight" or layer.endswith("embedding"):
        return None
    before, _, own = layer.rpartition(".")
    return f"{before}.{OLD_NAMES[own]}" if module == "vae" and own in OLD_NAMES else layer


def _mlp(width: int, hidden: list[int], layer_norm: bool) -> Iterator[int]:
    sizes = [width, *hidden, width]
    for before, after in pairwise(sizes):
        yield _tensor((after, before)) + _tensor((after,))
    if layer_norm:
        yield from (2 * _tensor((size,)) for size in hidden)


def _tensor(shape: tuple[int, ...]) -> int:
    return _FLOAT * prod(shape) + _HEADER
