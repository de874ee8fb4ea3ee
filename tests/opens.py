"""How often files below a folder are opened for reading, whoever opens them: counted by the kernel (inotify)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections import Counter
from pathlib import Path

_CREATE, _OPEN, _ISDIR, _NONBLOCK = 0x100, 0x20, 0x40000000, 0o4000
_EVENT = struct.Struct("iIII")


class Opens:
    """Counts the opens of files by their names, in the folders that are there when it begins and in those that are made meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._libc.inotify_init1(_NONBLOCK)
        assert self._handle >= 0, os.strerror(ctypes.get_errno())
        self._folders: dict[int, Path] = {}
        self._counts: Counter[str] = Counter()
        for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            self._watch(place)

    def counts(self) -> Counter[str]:
        """Name of a file -> how often it was opened so far."""
        while True:
            try:
                data = os.read(self._handle, 1 << 16)
            except BlockingIOError:
                return self._counts
            self._take(data)

    def close(self) -> None:
        os.close(self._handle)

    def _watch(self, folder: Path) -> None:
        watch = self._libc.inotify_add_watch(self._handle, os.fsencode(folder), _CREATE | _OPEN)
        assert watch >= 0, os.strerror(ctypes.get_errno())
        self._folders[watch] = folder

    def _take(self, data: bytes) -> None:
        place = 0
        while place < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, place)
            name = data[place + _EVENT.size : place + _EVENT.size + length].rstrip(b"\0").decode()
            place += _EVENT.size + length
            if mask & _ISDIR:
                if mask & _CREATE:
                    self._watch(self._folders[watch] / name)
            elif mask & _OPEN:
                self._counts[name] += 1
