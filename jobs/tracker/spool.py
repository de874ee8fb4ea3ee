"""What MLflow has not seen yet, on disk: one file of JSON lines a driver, taken over by the next driver when its writer is dead."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from jobs.tracker.event import Event, event_from_line


class Spool:
    """An append-only file of events of one grid for one tracking URI. A lock on the file says that its writer lives.

    Args:
        folder: made when missing; safe to share between grids, URIs and drivers.
    """

    def __init__(self, folder: Path, grid: str, uri: str) -> None:
        self.folder = folder / grid / hashlib.sha256(uri.encode()).hexdigest()[:12]
        self.path = self.folder / f"{time.time_ns()}-{os.getpid()}.jsonl"
        self._file: BinaryIO | None = None
        self._dirty = False
        self._lock = threading.Lock()

    def append(self, event: Event) -> None:
        """Hand the event to the operating system: it outlives this process, and the machine after `sync`."""
        with self._lock:
            file = self._file or self._open()
            file.write(event.to_line())
            file.flush()
            self._dirty = True

    def sync(self) -> None:
        """Wait until the disk has what was appended."""
        with self._lock:
            if self._file is not None and self._dirty:
                os.fsync(self._file.fileno())
                self._dirty = False

    def adopt(self) -> list[Event]:
        """Take over what dead writers left, oldest first: their events are ours now."""
        found: list[Event] = []
        for path in sorted(self.folder.glob("*.jsonl")):
            if path != self.path:
                found += self._take(path)
        return found

    def keep_only(self, events: Iterable[Event]) -> None:
        """Close the spool with these events left in it; without any, nothing stays on disk."""
        with self._lock:
            kept = b"".join(event.to_line() for event in events)
            if kept:
                beside = self.path.with_suffix(".part")
                beside.write_bytes(kept)
                os.replace(beside, self.path)
            else:
                self.path.unlink(missing_ok=True)
        self.close()
        with contextlib.suppress(OSError):  # in use by others, or never made
            self.folder.rmdir()
            self.folder.parent.rmdir()

    def close(self) -> None:
        """Leave the file to whoever comes next."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _open(self) -> BinaryIO:
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.path.open("ab")
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                self._file = file
                return file
            file.close()  # taken for a dead writer's and removed, between our opening and our locking it

    def _take(self, path: Path) -> list[Event]:
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                events = [event for line in file if (event := event_from_line(line)) is not None]
                for event in events:
                    self.append(event)
                self.sync()
                path.unlink()
        except (BlockingIOError, FileNotFoundError):
            return []  # its writer lives, or another driver was faster
        return events
