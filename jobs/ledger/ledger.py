"""The ledger: what is done, in a store that may be killed, raced for and corrupted at any moment."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from jobs.errors import AlreadyExists, Corrupt, LedgerError, NotFound, OutOfReach
from jobs.ledger.blobs import Blobs
from jobs.ledger.failures import Failure, Failures
from jobs.ledger.leases import DEFAULT_TTL_S, Leases
from jobs.ledger.manifest import Manifest, Parent, Payload, code_version, digest_of, parse_manifest, payloads_in, seeds_in
from jobs.ledger.memory import Memory
from jobs.ledger.paths import Paths
from jobs.ledger.progress import StoredProgress
from jobs.ledger.quarantine import Quarantine
from jobs.ledger.registry import registered_grids
from jobs.plan.graph import Node, ancestors
from jobs.store.probe import probe
from jobs.store.protocol import ObjectStore

Notice = Callable[[str], None]
T = TypeVar("T")
_COMMIT_TRIES = 5
_READ_TRIES = 3
"""How often a payload that is wrong when it is read, and was made again by then, is read anew."""


class Ledger:
    """Manifests, failures, grids, progress and leases of one store. A stage with a manifest is done; nothing else is.

    Args:
        notice: told what a person should know, such as a stage that went to quarantine; by default a warning of the logger `s2l`.
        look_only: move nothing to quarantine; for those who only read, perhaps with a key that may not write.
        adopted: told (ours, winner's) manifest when another writer committed the stage first.
        memory: what need not be read from the store, and keeps what is; by default none.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        notice: Notice | None = None,
        adopted: Callable[[Manifest, Manifest], None] | None = None,
        lease_ttl: float = DEFAULT_TTL_S,
        look_only: bool = False,
        memory: Memory | None = None,
    ) -> None:
        self.store = store
        self.notice: Notice = notice or logging.getLogger("s2l").warning
        self.memory = memory or Memory(0)
        self.quarantine = Quarantine(store)
        self.leases = Leases(store, ttl=lease_ttl)
        self._blobs = Blobs(store)
        self._adopted = adopted
        self._look_only = look_only
        self._failures = Failures(store, self.notice)

    # --- what is done ---

    def committed(self, kind: str) -> set[str]:
        """Keys of all stages of a kind that have a manifest: one listing, nothing is read."""
        prefix = Paths.manifests_of(kind)
        start, end = len(prefix), len(prefix) + 64
        return {entry.name[start:end] for entry in self.store.list(prefix) if entry.name[end:] == ".json"}

    def manifest(self, kind: str, key: str) -> Manifest | None:
        """The stage's manifest, or None when it is not done. A garbled manifest goes to quarantine and counts as not done."""
        name = Paths.manifest(kind, key)
        data = self.memory.once(name, partial(self._stored, name))
        if data is None:
            return None
        try:
            return parse_manifest(data, kind, key)
        except Corrupt as error:
            self.memory.forget([name])
            if self._look_only:
                self.notice(f"{error}; running the grid makes the stage again")
                return None
            if self.quarantine.take(name, str(error), {"kind": kind, "key": key}, seen=data):
                self.notice(f"{error}; moved to quarantine, the stage will be made again")
                return None
            return self.manifest(kind, key)  # made anew while we looked

    def commit(
        self, node: Node, folder: Path, *, parents: Mapping[str, Manifest], made: Mapping[str, Any], checkpoints: bool = True
    ) -> Manifest:
        """Make the folder's files the stage's result: blobs first, the manifest last. The first writer wins.

        Args:
            folder: every file in it, at any depth, is a payload.
            parents: parent's key -> the manifest whose payloads the stage was computed from.
            made: when, where, how long, which variant; JSON values, no secrets.
            checkpoints: False when the stage is known to have none, so that there are none to remove.

        Returns:
            The winner's manifest: ours, or that of whoever was first.
        """
        ours = _manifest_of(node, payloads_in(folder), parents, made)
        found = [payload for payload in ours.payloads if not self._blobs.put(payload, folder / payload.name)]
        for _ in range(_COMMIT_TRIES):
            winner = self._create(ours) or self.manifest(ours.kind, ours.key)
            if winner is not None:
                self._blobs.put_back(ours.payloads, found, folder)
                if winner is not ours:
                    self._adopt(ours, winner)
                if checkpoints:
                    self._forget_progress(ours.key)
                return winner
        raise LedgerError(
            f"the manifest of {ours.kind} {ours.key} is there when it is written and gone when it is read; is something deleting it?"
        )

    def retire(self, manifest: Manifest, reason: str) -> None:
        """Take a stage's manifest out of the ledger, into quarantine: it will be made again when asked for. One made since then stays."""
        self._take_stage(manifest, reason, {"kind": manifest.kind, "key": manifest.key})

    def stale(self, nodes: Iterable[Node]) -> list[Node]:
        """Committed stages that were computed from a parent's older make, and what hangs on them; parents before children.

        Only a stage that once went to quarantine can have been made twice, so a store with an empty quarantine costs one listing.
        """
        suspects = self.quarantine.stages()
        if not suspects:
            return []
        found: dict[str, Node] = {}
        for node in ancestors(nodes):
            if any(parent.key in found or parent.id in suspects for _, parent in node.parents) and self._outdated(node, found):
                found[node.key] = node
        return list(found.values())

    # --- what stages left ---

    def fetch(self, manifest: Manifest, into: Path) -> None:
        """Write the stage's payloads into a folder, each verified.

        Raises:
            jobs.errors.Corrupt: a payload is missing or not what the manifest says; the stage is in quarantine now.
        """
        for payload in manifest.payloads:
            target = into / payload.name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._right(manifest, payload, partial(self._blobs.copy, payload, target))
            except Corrupt:
                target.unlink(missing_ok=True)
                raise

    def read(self, manifest: Manifest, name: str) -> bytes:
        """The verified bytes of one payload.

        Raises:
            jobs.errors.NotFound: the stage has no payload of that name.
            jobs.errors.Corrupt: missing or not what the manifest says; the stage is in quarantine now.
        """
        payload = manifest.payload(name)
        return self._right(manifest, payload, partial(self.memory.once, Paths.blob(payload.sha256), partial(self._blobs.read, payload)))

    # --- failures, grids, progress ---

    def record_failure(self, failure: Failure) -> Failure:
        """Keep a failed attempt; returns it with its number."""
        return self._failures.record(failure)

    def failures(self) -> list[Failure]:
        """Every failed attempt on record, by kind, key and attempt."""
        return self._failures.all()

    def mark_tried_again(self, failure: Failure) -> None:
        self._failures.mark_tried_again(failure)

    def clear_failures(self, kind: str, key: str) -> None:
        self._failures.clear(kind, key)

    def save_grid(self, document: Mapping[str, Any]) -> None:
        """Register a grid.

        Args:
            document: a JSON value with at least `grid` (its name) and `grid_key`.
        """
        data = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()
        with contextlib.suppress(AlreadyExists):
            self.store.create(Paths.grid(document["grid"], document["grid_key"]), data)

    def grids(self) -> list[dict[str, Any]]:
        """Documents of all registered grids, by name and key."""
        grids = registered_grids(self.store)
        for grid in grids:
            if grid.document is None:
                self.notice(f"{grid.place} is no grid's document; ignored")
        return [grid.document for grid in grids if grid.document is not None]

    def progress(self, key: str, fence: int) -> StoredProgress:
        """Resumable checkpoints of a stage for the holder of the lease with that number."""
        return StoredProgress(self.store, key, fence, self.notice)

    def probe(self) -> None:
        """Try the store out.

        Raises:
            jobs.errors.OutOfReach: it cannot be used, or does not keep its promises.
        """
        probe(self.store)

    # --- inside ---

    def _stored(self, name: str) -> bytes | None:
        try:
            return self.store.get(name).data
        except NotFound:
            return None

    def _take_stage(self, manifest: Manifest, reason: str, facts: Mapping[str, str]) -> None:
        self.memory.forget([Paths.manifest(manifest.kind, manifest.key)])
        self.quarantine.take_stage(manifest, reason, facts)

    def _create(self, manifest: Manifest) -> Manifest | None:
        try:
            self.store.create(Paths.manifest(manifest.kind, manifest.key), manifest.to_bytes())
        except AlreadyExists:
            return None
        return manifest

    def _adopt(self, ours: Manifest, winner: Manifest) -> None:
        if winner.digest != ours.digest:
            self.notice(f"{ours.kind} {ours.key} was committed by another writer with other bytes; theirs counts, ours is dropped")
        if self._adopted:
            self._adopted(ours, winner)

    def _forget_progress(self, key: str) -> None:
        try:
            for entry in list(self.store.list(Paths.progress_of(key))):
                self.store.delete(entry.name)
        except (LedgerError, OutOfReach) as error:
            self.notice(f"the checkpoints of {key} could not be removed: {error}")

    def _outdated(self, node: Node, outdated: Mapping[str, Node]) -> bool:
        manifest = self.manifest(node.kind, node.key)
        if manifest is None:
            return False
        if any(parent.key in outdated for parent in manifest.parents):
            return True
        now = ((parent, self.manifest(parent.kind, parent.key)) for parent in manifest.parents)
        return any(current is not None and current.digest != parent.digest for parent, current in now)

    def _right(self, manifest: Manifest, payload: Payload, look: Callable[[], T | None]) -> T:
        """What a look at the payload finds, which is None when it is wrong. A second look tells a bad wire from a bad store."""
        for _ in range(_READ_TRIES):
            for _ in range(2):
                found = look()
                if found is not None:
                    return found
            error = self._put_away(manifest, payload)
            if error is not None:
                raise error
        raise Corrupt(f"{manifest.kind} {manifest.key}: payload {payload.name!r} is whole in the store and arrives wrong each time")

    def _put_away(self, manifest: Manifest, payload: Payload) -> Corrupt | None:
        """Move a stage whose payload is wrong out of the way; the error says which. None when it was made again while we looked."""
        blob = Paths.blob(payload.sha256)
        what = self._missing_or_dropped(payload) if self.store.size(blob) is None else "is not what its manifest says"
        reason = f"{manifest.kind} {manifest.key}: payload {payload.name!r} {what}"
        if self._look_only:
            return Corrupt(f"{reason}; running the grid makes the stage again")
        facts = {"kind": manifest.kind, "key": manifest.key, "payload": payload.name}
        self.quarantine.take_blob(payload.sha256, reason, facts)
        if self.store.size(blob) == payload.size:
            return None
        self._take_stage(manifest, reason, facts)
        return Corrupt(f"{reason}; the stage is in quarantine and will be made again")

    def _missing_or_dropped(self, payload: Payload) -> str:
        dropped = self.store.size(Paths.dropped(payload.sha256)) is not None
        return "was dropped to save space" if dropped else "is missing from the store"


def _manifest_of(node: Node, payloads: tuple[Payload, ...], parents: Mapping[str, Manifest], made: Mapping[str, Any]) -> Manifest:
    spec = node.spec.model_dump(mode="json")
    return Manifest(
        kind=node.kind,
        key=node.key,
        digest=digest_of(payloads),
        spec=spec,
        parents=tuple(
            Parent(key=parent.key, digest=parents[parent.key].digest, kind=parent.kind, role=role) for role, parent in node.parents
        ),
        payloads=payloads,
        seeds=seeds_in(spec),
        code_version=code_version(),
        schema_version=node.spec.schema_version,
        made=dict(made),
    )
