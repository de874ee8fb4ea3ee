"""Reading back, beside a run, the results that were there before it: it begins at once, and calls no grid done over spoiled results."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from jobs.errors import Corrupt
from jobs.ledger.ledger import Ledger

THREADS = 16
"""Reads at a time: a store far away answers after tens of milliseconds, however small the object."""


class Look:
    """Reads committed stages of small payloads back, in threads of its own. What is spoiled is in quarantine then.

    Args:
        stages: (kind, key) pairs.
    """

    def __init__(self, ledger: Ledger, stages: Iterable[tuple[str, str]]) -> None:
        self._ledger = ledger
        self._left = iter(stages)
        self._words: list[str] = []
        self._failed: BaseException | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        """Begin, if it has not begun."""
        if not self._threads:
            self._threads = [threading.Thread(target=self._work, name="s2l-look", daemon=True) for _ in range(THREADS)]
            for thread in self._threads:
                thread.start()

    def finish(self) -> list[str]:
        """Read what is left; a sentence for each stage that proved spoiled since this was asked last.

        Raises:
            jobs.errors.OutOfReach: the store does not answer.
        """
        self.begin()
        for thread in self._threads:
            thread.join()
        if self._failed is not None:
            raise self._failed
        words, self._words = self._words, []
        return words

    def stop(self) -> None:
        """Read no more, and return when nothing is read."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                with self._lock:
                    stage = next(self._left, None)
                if stage is None:
                    return
                words = spoiled(self._ledger, *stage)
                if words:
                    self._words.append(words)
        except BaseException as error:  # told by whoever asks for the end
            self._failed = error
            self._stopped.set()


def spoiled(ledger: Ledger, kind: str, key: str) -> str:
    """What is wrong with a committed stage, which is in quarantine then; empty when it is whole."""
    manifest = ledger.manifest(kind, key)
    if manifest is None:
        return f"{kind} {key} is not in the ledger any more"
    try:
        for payload in manifest.payloads:
            ledger.read(manifest, payload.name)
    except Corrupt as error:
        return str(error)
    return ""
