"""What stages are likely to cost, by what like ones have cost: seconds and bytes from the ledger's manifests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from jobs.ledger.manifest import Manifest
from jobs.plan.graph import Node
from jobs.stages.specs import ScoreStage, ShakeStage

Like = tuple[str, ...]
"""A kind of stage, and for a shake its adapters and objective, for a score its attack."""
EXAMPLES = 16
_LOOKED_AT = 256
_THREADS = 8


class Committed(Protocol):
    """The part of a ledger that is asked."""

    def committed(self, kind: str) -> set[str]: ...

    def manifest(self, kind: str, key: str) -> Manifest | None: ...


@dataclass(frozen=True)
class Cost:
    """What stages cost together.

    Attributes:
        seconds: of computing, one after the other; 0.0 where none is known.
        bytes: of what they leave.
        unknown: how many of them are in neither sum, as nothing like them was measured.
    """

    stages: int = 0
    seconds: float = 0.0
    bytes: float = 0.0
    unknown: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.stages + other.stages, self.seconds + other.seconds, self.bytes + other.bytes, self.unknown + other.unknown)


def like(node: Node) -> Like:
    """What stages of about the same cost have in common."""
    spec = node.spec
    if isinstance(spec, ShakeStage):
        return node.kind, "+".join(adapter.kind for adapter in spec.adapters), spec.objective.kind
    return (node.kind, spec.attack.kind) if isinstance(spec, ScoreStage) else (node.kind,)


def cost(nodes: Iterable[Node], known: Iterable[Node], ledger: Committed) -> dict[str, Cost]:
    """Kind -> what its stages would cost, by the mean over like ones.

    Args:
        nodes: the stages to cost.
        known: stages that are perhaps committed, to learn from first; then any of the ledger.
    """
    wanted: dict[Like, int] = defaultdict(int)
    for node in nodes:
        wanted[like(node)] += 1
    means = _means(set(wanted), known, ledger)
    costs: dict[str, Cost] = defaultdict(Cost)
    for alike, number in wanted.items():
        mean = means.get(alike)
        costs[alike[0]] += Cost(number, number * mean[0], number * mean[1]) if mean else Cost(number, unknown=number)
    return dict(costs)


def _means(wanted: set[Like], known: Iterable[Node], ledger: Committed) -> dict[Like, tuple[float, float]]:
    """Like -> mean (seconds, bytes) over at most `EXAMPLES` committed stages."""
    done = {kind: ledger.committed(kind) for kind in {alike[0] for alike in wanted}}
    keys: dict[Like, list[str]] = defaultdict(list)
    for node in known:
        alike = like(node)
        if alike in wanted and node.key in done[node.kind] and len(keys[alike]) < EXAMPLES:
            keys[alike].append(node.key)
    found: dict[Like, list[Manifest]] = defaultdict(list)
    _read([(alike[0], key) for alike, some in keys.items() for key in some], ledger, wanted, found)
    short = {alike[0] for alike in wanted if not found[alike]}
    _read([(kind, key) for kind in short for key in sorted(done[kind])[:_LOOKED_AT]], ledger, wanted, found)
    return {alike: mean for alike, manifests in found.items() if (mean := _mean(manifests)) is not None}


def _read(stages: list[tuple[str, str]], ledger: Committed, wanted: set[Like], found: dict[Like, list[Manifest]]) -> None:
    read: Callable[[tuple[str, str]], Manifest | None] = lambda stage: ledger.manifest(*stage)  # noqa: E731
    with ThreadPoolExecutor(_THREADS) as pool:
        for manifest in pool.map(read, stages):
            if manifest is not None and (alike := _like_of(manifest.spec)) in wanted:
                found[alike].append(manifest)


def _like_of(spec: dict[str, Any]) -> Like:
    """As `like`, of a manifest's spec."""
    kind = str(spec["kind"])
    if kind == "shake":
        return kind, "+".join(str(adapter["kind"]) for adapter in spec["adapters"]), str(spec["objective"]["kind"])
    return (kind, str(spec["attack"]["kind"])) if kind == "score" else (kind,)


def _mean(manifests: list[Manifest]) -> tuple[float, float] | None:
    timed = [manifest for manifest in manifests if isinstance(manifest.made.get("seconds"), int | float)]
    if not timed:
        return None
    seconds = sum(float(manifest.made["seconds"]) for manifest in timed)
    return seconds / len(timed), sum(payload.size for manifest in timed for payload in manifest.payloads) / len(timed)
