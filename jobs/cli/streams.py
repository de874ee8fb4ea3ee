"""What a command writes when nobody reads it any more, or when there is no room for it: it is lost, and the command goes on."""

from __future__ import annotations

import io
import sys
from typing import Any, TextIO


class Lossy(io.FileIO):
    """A file on an open descriptor. What some errors keep from being written counts as written.

    Attributes:
        unread: whether whoever read it is gone.
    """

    def __init__(self, descriptor: int, lost: type[OSError]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._lost = lost
        self.unread = False

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except self._lost as error:
            self.unread = self.unread or isinstance(error, BrokenPipeError)
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """From now on nothing that is said on stderr ends a command, nor does a reader of stdout that has read enough.

    A command keeps its own exit code so. A disk that has no room for an answer is still told: the answer is what was asked for.
    """
    sys.stdout = _lossy(sys.stdout, BrokenPipeError)
    sys.stderr = _lossy(sys.stderr, OSError)


def is_unread(stream: TextIO) -> bool:
    """Whether something was written after the stream's reader had gone."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return isinstance(raw, Lossy) and raw.unread


def _lossy(stream: TextIO, lost: type[OSError]) -> TextIO:
    """The stream as it is, but for what is lost. One without a descriptor (None: it was closed from the start) stays."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    file = io.BufferedWriter(Lossy(stream.fileno(), lost))
    lines = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(file, encoding=stream.encoding, errors=stream.errors, line_buffering=lines)
