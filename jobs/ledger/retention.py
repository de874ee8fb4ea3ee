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
"""`all`: everything stays. `small`: dense weights go, all other adapters stay. `none`: the weights of every shake go."""

_DENSE = ("unet/", "text_encoder/", "vae/")
"""Where a dense adapter's whole modules lie (docs/decisions/0005)."""


@dataclass(frozen=True)
class Dropped:
    """What a policy freed: of how many shakes, in how many files."""

    shakes: int = 0
    blobs: int = 0
    bytes: int = 0

    def __add__(self, other: Dropped) -> Dropped:
        return Dropped(self.shakes + other.shakes, self.blobs + other.blobs, self.bytes + other.bytes)


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
    shakes: set[str] = set()
    sizes = []
    for payload, users in _payloads(ledger, free, keep):
        size = _drop_blob(ledger, payload)
        if size:
            sizes.append(size)
            shakes |= users
    return Dropped(len(shakes), len(sizes), sum(sizes))


def droppable(manifest: Manifest, keep: Keep) -> list[Payload]:
    """The payloads of a stage that a policy lets go."""
    if manifest.kind != "shake" or keep == "all":
        return []
    weights = [payload for payload in manifest.payloads if payload.is_weights]
    return weights if keep == "none" else [payload for payload in weights if payload.name.startswith(_DENSE)]


def _payloads(ledger: Ledger, free: set[str], keep: Keep) -> list[tuple[Payload, set[str]]]:
    """Distinct blobs that all committed shakes which name them may lose, and these shakes."""
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
    return [(payload, uses[sha256]) for sha256, payload in found.items() if uses[sha256] <= free]


def _drop_blob(ledger: Ledger, payload: Payload) -> int:
    blob = Paths.blob(payload.sha256)
    if ledger.store.size(blob) is None:
        return 0
    marker = json.dumps({"size": payload.size, "why": "retention: made again when asked for"}).encode()
    with contextlib.suppress(AlreadyExists):
        ledger.store.create(Paths.dropped(payload.sha256), marker)
    ledger.store.delete(blob)
    return payload.size
