"""Marks of blobs that are let go on purpose, so that a reader can tell them from lost ones; and who wins when one is committed meanwhile.

Who drops a blob marks it, looks for manifests that have come since, and removes it only if none names it. Who commits looks for a mark
after the manifest is there. So one of the two sees the other: the blob is spared, or its writer waits until it is gone and writes it once
more. No copy is made, as of what `gc` takes: dense weights are gigabytes.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from jobs.errors import AlreadyExists, Conflict, NotFound
from jobs.ledger.manifest import Payload
from jobs.ledger.paths import Paths
from jobs.store.protocol import ObjectStore, Stored

OUTLAST_S = 60.0
"""How long a commit waits for a blob to go that is marked: for some requests of another driver, unless that has died."""
LOOK_EVERY_S = 0.5


class Drops:
    """The `dropped/` part of a store."""

    def __init__(self, store: ObjectStore, wait: Callable[[float], None] = time.sleep) -> None:
        self._store, self._wait = store, wait

    def is_there(self, payload: Payload) -> bool:
        """Whether the payload's blob is in the store."""
        return self._store.size(Paths.blob(payload.sha256)) is not None

    def mark(self, payload: Payload) -> None:
        """Say that the blob goes. Each mark has bytes of its own: a writer that removes an older one leaves it."""
        name, data = Paths.dropped(payload.sha256), _mark(payload)
        try:
            self._store.create(name, data)
        except AlreadyExists:
            with contextlib.suppress(NotFound, Conflict):  # somebody else marks it, too, or writes it anew
                self._store.replace(name, data, self._store.get(name).tag)

    def let_go(self, payload: Payload) -> None:
        """Remove a marked blob; one that is written again meanwhile keeps no mark."""
        self._store.delete(Paths.blob(payload.sha256))
        with contextlib.suppress(AlreadyExists):
            self._store.create(Paths.dropped(payload.sha256), _mark(payload))
        if self.is_there(payload):
            self.spare(payload)

    def spare(self, payload: Payload) -> None:
        """Take the mark off a blob that stays; one that another has removed all the same keeps it."""
        self._store.delete(Paths.dropped(payload.sha256))
        if not self.is_there(payload):
            self.mark(payload)

    def before_writing(self, payload: Payload) -> Stored | None:
        """The mark that writing the blob is to end."""
        with contextlib.suppress(NotFound):
            return self._store.get(Paths.dropped(payload.sha256))
        return None

    def written(self, payload: Payload, mark: Stored | None) -> None:
        """The blob is here again, and may not get lost unseen: end the mark that was found before. A newer one stays."""
        if mark is not None:
            with contextlib.suppress(Conflict):
                self._store.delete(Paths.dropped(payload.sha256), mark.tag)

    def outlast(self, payload: Payload, path: Path) -> None:
        """Make sure that a committed blob is there, whoever was about to remove it before the manifest came."""
        name, waited = Paths.dropped(payload.sha256), 0.0
        if self._store.size(name) is None:
            return
        while waited < OUTLAST_S and self._store.size(name) is not None and self.is_there(payload):
            self._wait(LOOK_EVERY_S)
            waited += LOOK_EVERY_S
        if not self.is_there(payload):
            self._store.put_file(Paths.blob(payload.sha256), path)
        self.spare(payload)


def _mark(payload: Payload) -> bytes:
    told = {"size": payload.size, "why": "retention: made again when asked for", "by": uuid.uuid4().hex}
    return json.dumps(told).encode()
