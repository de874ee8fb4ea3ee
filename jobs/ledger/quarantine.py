"""Where what is corrupt goes: kept for looking at, out of everybody's way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping

from jobs.errors import AlreadyExists, Corrupt, NotFound
from jobs.ledger.blobs import sha256_of
from jobs.ledger.manifest import Manifest, parse_manifest
from jobs.ledger.paths import Paths
from jobs.store.protocol import ObjectStore


class Quarantine:
    """The `quarantine/` part of a store: `<the object's name>/<n>` with `<n>.reason.json` beside it.

    What was found wrong may be made anew before it is taken, by whoever else found it so. That goes for every object here: it is looked
    at directly before it is moved and once more when it is here, and goes back when it turns out to be another.

    Attributes:
        taken: how many objects came here by this one, and stayed.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.taken = 0

    def take(self, name: str, reason: str, facts: Mapping[str, str], *, seen: bytes) -> bool:
        """Move an object here with a reason.

        Args:
            facts: what else to note, such as the stage's kind and key.
            seen: the bytes that were found wrong; an object that has others by now is left alone.

        Returns:
            False when it was gone already, or made anew.
        """
        return self._take(name, reason, facts, lambda there: self._store.get(there).data == seen)

    def take_stage(self, manifest: Manifest, reason: str, facts: Mapping[str, str]) -> bool:
        """Move a stage's manifest here. False when the store has another by now, or none."""
        name = Paths.manifest(manifest.kind, manifest.key)
        try:
            data = self._store.get(name).data
            if parse_manifest(data, manifest.kind, manifest.key).to_bytes() != manifest.to_bytes():
                return False
        except (NotFound, Corrupt):  # who reads what is garbled finds out
            return False
        return self.take(name, reason, facts, seen=data)

    def take_blob(self, sha256: str, reason: str, facts: Mapping[str, str]) -> bool:
        """Move a blob here, unless it is gone or its bytes are what its name says."""
        return self._take(Paths.blob(sha256), reason, facts, lambda there: sha256_of(self._store, there) not in (None, sha256))

    def set_aside(self, name: str) -> str | None:
        """Move an object here with which nothing is wrong, for a moment; returns its name here, or None when it was gone already."""
        try:
            return Paths.quarantined(name, self._move(name))
        except NotFound:
            return None

    def give_back(self, here: str, name: str) -> None:
        """The name that an object had; one that has it by now keeps it."""
        try:
            self._store.move(here, name)
        except AlreadyExists:
            self._store.delete(here)

    def stages(self) -> set[tuple[str, str]]:
        """(kind, key) of every stage a manifest of which is here."""
        found = (Paths.stage_of(entry.name) for entry in self._store.list(f"{Paths.quarantine}{Paths.manifests}"))
        return {stage for stage in found if stage}

    def _take(self, name: str, reason: str, facts: Mapping[str, str], is_wrong: Callable[[str], bool]) -> bool:
        try:
            if not is_wrong(name):
                return False
            number = self._move(name)
            if not is_wrong(Paths.quarantined(name, number)):
                self.give_back(Paths.quarantined(name, number), name)
                return False
        except NotFound:
            return False
        self.taken += 1
        document = {"name": name, "reason": reason, **facts}
        with contextlib.suppress(AlreadyExists):
            self._store.create(Paths.quarantine_reason(name, number), json.dumps(document, indent=1, sort_keys=True).encode())
        return True

    def _move(self, name: str) -> int:
        number = 1
        while True:
            try:
                self._store.move(name, Paths.quarantined(name, number))
                return number
            except AlreadyExists:
                number += 1
