"""Where what is corrupt goes: kept for looking at, out of everybody's way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

from jobs.errors import AlreadyExists, NotFound
from jobs.ledger.paths import Paths
from jobs.store.protocol import ObjectStore


class Quarantine:
    """The `quarantine/` part of a store: `<the object's name>/<n>` with `<n>.reason.json` beside it.

    Attributes:
        taken: how many objects came here by this one.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.taken = 0

    def take(self, name: str, reason: str, facts: Mapping[str, str], *, seen: bytes | None = None) -> bool:
        """Move an object here with a reason.

        Args:
            facts: what else to note, such as the stage's kind and key.
            seen: the bytes that were found wrong; an object that has others by now is left alone.

        Returns:
            False when it was gone already, or made anew.
        """
        try:
            if seen is not None and self._store.get(name).data != seen:
                return False
            number = self._move(name)
        except NotFound:
            return False
        self.taken += 1
        document = {"name": name, "reason": reason, **facts}
        with contextlib.suppress(AlreadyExists):
            self._store.create(Paths.quarantine_reason(name, number), json.dumps(document, indent=1, sort_keys=True).encode())
        return True

    def stages(self) -> set[tuple[str, str]]:
        """(kind, key) of every stage a manifest of which is here."""
        found = (Paths.stage_of(entry.name) for entry in self._store.list(f"{Paths.quarantine}{Paths.manifests}"))
        return {stage for stage in found if stage}

    def _move(self, name: str) -> int:
        number = 1
        while True:
            try:
                self._store.move(name, Paths.quarantined(name, number))
                return number
            except AlreadyExists:
                number += 1
