"""What of a store nobody needs: found by one listing of each part and one look at every manifest; nothing is removed here."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal, get_args

from jobs.errors import OutOfReach
from jobs.ledger.leases import LeaseRecord
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.ledger.paths import Paths
from jobs.ledger.registry import Registered
from jobs.ledger.verify import read_manifests
from jobs.store.probe import PREFIX
from jobs.store.protocol import Entry, KeepsUnfinished, Unfinished

DAY_S = 86_400.0
LEASE_OVER_S = 3600.0
"""A lease is renewed every 15 seconds; one that was not for so long, by the store's clock, is nobody's."""

Category = Literal[
    "stages", "stage_blobs", "orphan_blobs", "failures", "progress", "leases", "dropped", "quarantine", "probe", "unfinished", "grids"
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
_SAID_EVERY = 2000
_BLOB = re.compile(r"blobs/[0-9a-f]{2}/([0-9a-f]{64})")


@dataclass(frozen=True)
class Ages:
    """How old things must be to go, in seconds.

    Attributes:
        grace: nothing younger goes: a running grid writes blobs before manifests.
        progress: checkpoints of stages that nobody holds.
        quarantine: what was found corrupt.
    """

    grace: float = DAY_S
    progress: float = 7 * DAY_S
    quarantine: float = 30 * DAY_S


@dataclass
class Garbage:
    """What may go.

    Attributes:
        found: category -> objects.
        unfinished: what killed writers left.
        kinds: how many of the stages are of which kind.
        kept: sentences for what could not be told, and stays.
        seen: the manifests that were looked at.
    """

    now: float
    ages: Ages
    found: dict[Category, list[Entry]] = field(default_factory=lambda: {category: [] for category in CATEGORIES})
    unfinished: list[Unfinished] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    kept: list[str] = field(default_factory=list)
    seen: set[Entry] = field(default_factory=set)

    def sums(self) -> dict[Category, tuple[int, int]]:
        """Category -> (objects, bytes)."""
        sums = {category: (len(entries), sum(entry.size for entry in entries)) for category, entries in self.found.items()}
        return sums | {"unfinished": (len(self.unfinished), sum(one.size for one in self.unfinished))}

    def is_old(self, modified: float) -> bool:
        return self.now - modified > self.ages.grace


def garbage(
    ledger: Ledger,
    reached: AbstractSet[str],
    *,
    now: float,
    untold: Iterable[str] = (),
    forget: Iterable[Registered] = (),
    ages: Ages = Ages(),
    say: Callable[[str], None] = lambda words: None,
) -> Garbage:
    """What of the store no grid reaches and nobody works on.

    Args:
        reached: keys of all stages that registered grids ask for.
        untold: a sentence for each grid of which that cannot be told; with one, no stage goes.
        forget: grids that are to be registered no more, and reach nothing.
        now: the time by the store's clock.
        say: told what is being looked at.

    Raises:
        jobs.errors.InputError: the store was written by a newer S2L.
    """
    look = _Look(ledger, Garbage(now, ages, kept=list(untold)), reached, say)
    look.grids({grid.place for grid in forget})
    look.leases()
    look.stages(everything=bool(look.result.kept))
    look.blobs()
    look.progress()
    look.quarantine()
    look.leftovers()
    return look.result


class _Look:
    """One look through a store, part by part."""

    def __init__(self, ledger: Ledger, result: Garbage, reached: AbstractSet[str], say: Callable[[str], None]) -> None:
        self.store, self.held, self.result, self.say = ledger.store, ledger.leases.held, result, say
        self.reached = reached
        self.live: set[str] = set()
        self.manifests: dict[str, Manifest] = {}
        self.kept: set[str] = set()

    def grids(self, forget: AbstractSet[str]) -> None:
        """Those that are to be forgotten, however young."""
        self.result.found["grids"] = [entry for entry in self.store.list(Paths.grids) if entry.name in forget]

    def leases(self) -> None:
        """Who works on what; leases that have run out."""
        records = self.held()
        for entry in self.store.list(Paths.leases):
            key = entry.name.removeprefix(Paths.leases).removesuffix(".json")
            if self._is_over(entry, records.get(key)):
                self.result.found["leases"].append(entry)
            else:
                self.live.add(key)

    def stages(self, *, everything: bool) -> None:
        """Manifests and failure records that no grid reaches, with all that what is kept was computed from."""
        entries = {entry.name: entry for entry in self.store.list(Paths.manifests)}
        manifests = self._read(list(entries))
        self.result.seen = set(entries.values())
        self.manifests = {manifest.key: manifest for manifest in manifests}
        own = (manifest for manifest in manifests if everything or self._stays(manifest.key, entries[_place(manifest)]))
        self.kept = self._with_parents(own)
        for manifest in manifests:
            if manifest.key not in self.kept:
                self.result.found["stages"].append(entries[_place(manifest)])
                self.result.kinds[manifest.kind] += 1
        for entry in self.store.list(Paths.failures) if not everything else ():
            key = entry.name.split("/")[-2]
            if key not in self.kept and not self._stays(key, entry):
                self.result.found["failures"].append(entry)

    def blobs(self) -> None:
        """Blobs that no manifest names, or only those of stages that go; markers of dropped blobs that say nothing any more."""
        kept = {payload.sha256 for key in self.kept for payload in self.manifests[key].payloads}
        going = {payload.sha256 for key, manifest in self.manifests.items() if key not in self.kept for payload in manifest.payloads}
        self.say("listing blobs")
        there = set()
        for entry in self.store.list(Paths.blobs):
            found = _BLOB.fullmatch(entry.name)
            sha256 = found[1] if found else ""
            there.add(sha256)
            if sha256 and sha256 not in kept and self.result.is_old(entry.modified):
                self.result.found["stage_blobs" if sha256 in going else "orphan_blobs"].append(entry)
        for entry in self.store.list(Paths.drops):
            sha256 = entry.name.removeprefix(Paths.drops).removesuffix(".json")
            if (sha256 in there or sha256 not in kept) and self.result.is_old(entry.modified):
                self.result.found["dropped"].append(entry)

    def progress(self) -> None:
        """Checkpoints of stages that are done, or that nobody has held for long."""
        by_key: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.store.list(Paths.progress):
            by_key[entry.name.split("/")[1]].append(entry)
        for key, entries in by_key.items():
            age = self.result.now - max(entry.modified for entry in entries)
            enough = self.result.ages.grace if key in self.manifests else max(self.result.ages.grace, self.result.ages.progress)
            if key not in self.live and age > enough:
                self.result.found["progress"] += entries

    def quarantine(self) -> None:
        """What has lain there long enough. Proof that a stage was made twice stays while something hangs on its older make."""
        twice = set(self._made_twice())
        together: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.store.list(Paths.quarantine):
            together[entry.name.removesuffix(".reason.json")].append(entry)
        for name, entries in together.items():
            stage = Paths.stage_of(name)
            age = self.result.now - max(entry.modified for entry in entries)
            if age > max(self.result.ages.grace, self.result.ages.quarantine) and (stage is None or stage[1] not in twice):
                self.result.found["quarantine"] += entries

    def leftovers(self) -> None:
        """What those left who were killed in the middle of something small."""
        self.result.found["probe"] += [entry for entry in self.store.list(PREFIX) if self.result.is_old(entry.modified)]
        if not isinstance(self.store, KeepsUnfinished):
            return
        enough = max(self.result.ages.grace, DAY_S)
        try:
            self.result.unfinished = [one for one in self.store.unfinished() if self.result.now - one.modified > enough]
        except OutOfReach as error:  # a key may be allowed everything but this
            self.result.kept.append(f"unfinished uploads cannot be looked at: {error}")

    def _read(self, names: list[str]) -> list[Manifest]:
        """Those that are manifests; what is garbled is for `verify` to name."""
        found: list[Manifest] = []
        for start in range(0, len(names), _SAID_EVERY):
            part = names[start : start + _SAID_EVERY]
            self.say(f"reading manifests {start + 1:,} to {start + len(part):,} of {len(names):,}")
            found += read_manifests(self.store, part)[0]
        return found

    def _is_over(self, entry: Entry, record: LeaseRecord | None) -> bool:
        gone = record is not None and record.holder.is_gone()
        return gone or self.result.now - entry.modified > max(LEASE_OVER_S, self.result.ages.grace)

    def _stays(self, key: str, entry: Entry) -> bool:
        return key in self.reached or key in self.live or not self.result.is_old(entry.modified)

    def _with_parents(self, manifests: Iterable[Manifest]) -> set[str]:
        waiting = [manifest.key for manifest in manifests]
        found: set[str] = set()
        while waiting:
            key = waiting.pop()
            if key not in found and key in self.manifests:
                found.add(key)
                waiting += [parent.key for parent in self.manifests[key].parents]
        return found

    def _made_twice(self) -> Iterator[str]:
        for manifest in self.manifests.values():
            for parent in manifest.parents:
                now = self.manifests.get(parent.key)
                if now is None or now.digest != parent.digest:
                    yield parent.key


def _place(manifest: Manifest) -> str:
    return Paths.manifest(manifest.kind, manifest.key)
