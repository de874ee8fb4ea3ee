"""What may be dropped to save space: weights of shakes, once all that hangs on them is committed. They are made again when asked for."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from jobs.errors import AlreadyExists
from jobs.graph import Node
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest, Payload
from jobs.ledger.paths import Paths

Keep = Literal["none", "small", "all"]
"""`all`: everything stays. `small`: dense weights go, low-rank adapters stay. `none`: the weights of every shake go."""

WEIGHTS = "adapter.safetensors"


@dataclass(frozen=True)
class Dropped:
    """What a policy freed."""

    blobs: int = 0
    bytes: int = 0


def drop(ledger: Ledger, nodes: Iterable[Node], keep: Keep) -> Dropped:
    """Apply a policy to the stages of a plan.

    A blob goes only when every committed shake that names it may lose it and nothing in the plan still needs it. A marker is written
    first, so that `verify` and a reader can tell a dropped blob from a lost one.
    """
    if keep == "all":
        return Dropped()
    nodes = list(nodes)
    kinds = {node.kind for node in nodes}
    done = {key for kind in kinds for key in ledger.committed(kind)}
    needed = {parent.key for node in nodes if node.key not in done for _, parent in node.parents}
    free = {node.key for node in nodes if node.kind == "shake" and node.key in done and node.key not in needed}
    found = [_drop_blob(ledger, payload) for payload in _payloads(ledger, free, keep)]
    sizes = [size for size in found if size]
    return Dropped(len(sizes), sum(sizes))


def droppable(manifest: Manifest, keep: Keep) -> list[Payload]:
    """The payloads of a stage that a policy lets go."""
    if manifest.kind != "shake" or keep == "all":
        return []
    dense = any(adapter.get("kind") == "dense" for adapter in manifest.spec.get("adapters", ()))
    return [payload for payload in manifest.payloads if payload.name == WEIGHTS and (dense or keep == "none")]


def _payloads(ledger: Ledger, free: set[str], keep: Keep) -> list[Payload]:
    """Distinct blobs that all committed shakes which name them may lose."""
    found: dict[str, Payload] = {}
    uses: dict[str, set[str]] = defaultdict(set)
    for key in ledger.committed("shake"):
        manifest = ledger.manifest("shake", key)
        if manifest is None:
            continue
        for payload in manifest.payloads:
            uses[payload.sha256].add(key)
        if key in free:
            found |= {payload.sha256: payload for payload in droppable(manifest, keep)}
    return [payload for sha256, payload in found.items() if uses[sha256] <= free]


def _drop_blob(ledger: Ledger, payload: Payload) -> int:
    blob = Paths.blob(payload.sha256)
    if ledger.store.size(blob) is None:
        return 0
    marker = json.dumps({"size": payload.size, "why": "retention: made again when asked for"}).encode()
    with contextlib.suppress(AlreadyExists):
        ledger.store.create(Paths.dropped(payload.sha256), marker)
    ledger.store.delete(blob)
    return payload.size
