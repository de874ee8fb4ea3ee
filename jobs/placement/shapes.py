"""Which shape each unit of a run gets: its processes by what was asked for, its share of a GPU by what was asked for or by its memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobs.errors import InputError
from jobs.execute.options import RunOptions
from jobs.execute.order import parse_spec
from jobs.execute.units import Unit
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.placement.estimate import BATCHES, GIB, ModelSize, Peak, Shape, Variant, calibrated, estimate, share_of, trains
from jobs.placement.model_size import size_of_model
from jobs.plan.graph import Node

MOST_PEAKS = 50
"""So many manifests are read for what like stages took."""
MODELS_KEPT = 2
"""As jobs.worker.warm.Warm keeps."""
NodeSize = tuple[float, float]
"""CPUs and GPUs of a node."""


class FixedShapes:
    """Every unit's processes take the same share."""

    def __init__(self, gpu_share: float, processes: int) -> None:
        self._share = gpu_share
        self._processes = processes

    def of(self, unit: Unit) -> Shape:
        return Shape(processes_of(unit, self._processes), self._share)


class ShapesByMemory:
    """Each unit's share is chosen by what its largest stage needs."""

    def __init__(self, ledger: Ledger, nodes: Sequence[Node], options: RunOptions, gpu_memory: int, tell: Callable[[str], None]) -> None:
        """Take the plan's stages, and the bytes of the smallest GPU; `tell` is told each choice once."""
        self._ledger = ledger
        self._options = options
        self._memory = gpu_memory
        self._tell = tell
        self._told: set[str] = set()
        self._models: dict[str, ModelSize | None] = {}
        bases = {parent.key for node in nodes for role, parent in node.parents if role == "base"}
        self._kept = min(MODELS_KEPT, max(1, len(bases)))
        self._peaks = self._past(nodes)

    def of(self, unit: Unit) -> Shape:
        processes = processes_of(unit, self._options.processes)
        variant = Variant(processes, None, self._options.gradient_checkpointing)
        needs = {node.kind: self._need(node, variant) for node in unit.nodes}
        kind = max(needs, key=lambda name: needs[name])
        shape = Shape(processes, share_of(needs[kind], self._memory))
        self._say(kind, needs[kind], shape)
        return shape

    def _need(self, node: Node, variant: Variant) -> int:
        base = node.parent("base")
        model = self._model(base.kind, base.key) if base is not None else None
        return calibrated(node.kind, estimate(node.spec, model, variant, self._kept), self._peaks)

    def _model(self, kind: str, key: str) -> ModelSize | None:
        if key not in self._models:
            manifest = self._ledger.manifest(kind, key)
            if manifest is None:  # not yet made; asked again when it is
                return None
            self._models[key] = size_of_model(self._ledger, manifest)
        return self._models[key]

    def _past(self, nodes: Sequence[Node]) -> list[Peak]:
        """What stages of this plan took on a GPU before this run."""
        found: list[Peak] = []
        committed: dict[str, set[str]] = {}
        for kind in ("shake", *BATCHES):
            of_kind = [node for node in nodes if node.kind == kind]
            if of_kind:
                committed[kind] = self._ledger.committed(kind)
            done = [node for node in of_kind if node.key in committed[kind]][: MOST_PEAKS // 5]
            manifests = [manifest for node in done if (manifest := self._ledger.manifest(kind, node.key)) is not None]
            found += [peak for manifest in manifests if (peak := self._peak(manifest)) is not None]
        return found

    def _peak(self, manifest: Manifest) -> Peak | None:
        measured = manifest.made.get("peak_gpu_memory_bytes")
        base = next((parent for parent in manifest.parents if parent.role == "base"), None)
        if not isinstance(measured, int) or base is None:
            return None
        spec = parse_spec(manifest.spec)
        return Peak(manifest.kind, estimate(spec, self._model(base.kind, base.key), _variant(manifest.made), self._kept), measured)

    def _say(self, kind: str, needed: int, shape: Shape) -> None:
        words = f"units whose largest stage is {kind} take {in_words(shape)}"
        words += f": about {needed / GIB:.1f} of {self._memory / GIB:.1f} GiB" if needed else ""
        if needed > self._memory:
            words += "; that is more than there is: try --gradient-checkpointing, or --processes"
        if words not in self._told:
            self._told.add(words)
            self._tell(words)


def processes_of(unit: Unit, wanted: int) -> int:
    """All of them for a unit with a shake that trains; one for any other."""
    return wanted if any(trains(node.spec) for node in unit.nodes) else 1


def in_words(shape: Shape) -> str:
    """Such as `1/4 GPU` or `2 x 1 GPU`."""
    if not shape.gpu_share:
        return "no GPU" if shape.processes == 1 else f"{shape.processes} processes"
    parts = 1 / shape.gpu_share
    share = f"1/{parts:.0f}" if parts > 1 and parts.is_integer() else f"{shape.gpu_share:g}"
    return f"{share} GPU" if shape.processes == 1 else f"{shape.processes} x {share} GPU"


def check_there_is_room(largest: Shape, nodes: Sequence[NodeSize]) -> None:
    """Refuse what no placement group could ever hold: Tune would wait for it without end.

    Raises:
        InputError: it is larger than all nodes together.
    """
    cpus, gpus, share = sum(cpu for cpu, _ in nodes), sum(gpu for _, gpu in nodes), largest.gpu_share
    if share > gpus:
        raise InputError(f"a trial is to take {share:g} GPUs, and there are {gpus:g}; leave --gpu-share out, or make it smaller")
    room = sum(int(min(cpu, _times(gpu, share))) for cpu, gpu in nodes)
    if largest.processes > room:
        raise InputError(
            f"a trial is to run in {largest.processes} processes, each of which takes {_each(share)}, and there is room for {room} "
            f"({len(nodes)} node(s), {cpus:g} CPUs, {gpus:g} GPUs); give --processes {max(room, 1)} or less, or more --workers or nodes"
        )


def has_room(largest: Shape, nodes: Sequence[NodeSize]) -> bool:
    """Whether the largest unit fits on these nodes."""
    try:
        check_there_is_room(largest, nodes)
    except InputError:
        return False
    return True


def _times(gpus: float, share: float) -> float:
    if not share:
        return float("inf")
    return gpus // share if share > 1 else int(gpus) * (1 // share)


def _each(share: float) -> str:
    return f"1 CPU and {share:g} GPU" if share else "1 CPU"


def _variant(made: Mapping[str, Any]) -> Variant:
    return Variant(int(made.get("processes", 1)), made.get("micro_batch"), bool(made.get("gradient_checkpointing", False)))
