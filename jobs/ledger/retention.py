"""What may be dropped to save space: weights of shakes, once all that hangs on them is committed. They are made again when asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from jobs.ledger.drops import Drops
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest, Payload
from jobs.ledger.paths import Paths
from jobs.ledger.verify import read_manifests
from jobs.plan.graph import Node
from jobs.store.protocol import Entry

Keep = Literal["none", "small", "all"]
"""`all`: everything stays. `small`: dense weights go, all other adapters stay. `none`: the weights of every shake go."""

_DENSE = ("unet/", "text_encoder/", "vae/")
"""Where a dense adapter's whole modules lie (docs/decisions/0005)."""


_Going = tuple[Payload, set[str]]
"""A blob, and the shakes that name it."""
TOGETHER = 20
"""So many blobs are marked, and then go after one more look at what was committed: a moment, for which a commit of one of them waits."""


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

    A blob goes only when every committed shake that names it may lose it and nothing in the plan still needs it. A mark is written
    first, so that `verify` and a reader can tell a dropped blob from a lost one, and whoever commits it meanwhile keeps it.
    """
    if keep == "all":
        return Dropped()
    nodes = list(nodes)
    kinds = {node.kind for node in nodes}
    done = {key for kind in kinds for key in ledger.committed(kind)}
    needed = {parent.key for node in nodes if node.key not in done for _, parent in node.parents}
    free = {node.key for node in nodes if node.kind == "shake" and node.key in done and node.key not in needed}
    drops, seen = Drops(ledger.store), set(ledger.store.list(Paths.manifests_of("shake")))
    going, shakes, sizes = _payloads(ledger, free, keep), set[str](), []
    for start in range(0, len(going), TOGETHER):
        for payload, users in _let_go(ledger, drops, going[start : start + TOGETHER], seen):
            sizes.append(payload.size)
            shakes |= users
    return Dropped(len(shakes), len(sizes), sum(sizes))


def droppable(manifest: Manifest, keep: Keep) -> list[Payload]:
    """The payloads of a stage that a policy lets go."""
    if manifest.kind != "shake" or keep == "all":
        return []
    weights = [payload for payload in manifest.payloads if payload.is_weights]
    return weights if keep == "none" else [payload for payload in weights if payload.name.startswith(_DENSE)]


def _payloads(ledger: Ledger, free: set[str], keep: Keep) -> list[_Going]:
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


def _let_go(ledger: Ledger, drops: Drops, going: list[_Going], seen: set[Entry]) -> list[_Going]:
    """Those that went: that were there, and that no manifest names which came since `seen`, when all were looked at."""
    there = [one for one in going if drops.is_there(one[0])]
    for payload, _ in there:
        drops.mark(payload)
    named = _named_since(ledger, seen) if there else set()
    for payload, _ in there:
        drops.spare(payload) if payload.sha256 in named else drops.let_go(payload)
    return [one for one in there if one[0].sha256 not in named]


def _named_since(ledger: Ledger, seen: set[Entry]) -> set[str]:
    new = [entry.name for entry in ledger.store.list(Paths.manifests_of("shake")) if entry not in seen]
    return {payload.sha256 for manifest in read_manifests(ledger.store, new)[0] for payload in manifest.payloads}
