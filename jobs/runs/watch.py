"""The driver's side: a thread that gives signs of life, keeps the log readable, and does what the run is asked."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from jobs.errors import EXIT_INTERRUPTED, LedgerError, OutOfReach, S2LError
from jobs.execute.limits import GRACE_S, Gate
from jobs.runs.record import Log
from jobs.runs.registry import OwnRun

TICK_S = 3.0
BEAT_S = 15.0
INSIST_S = 30.0
"""So long after it was interrupted, a driver that is still at it is interrupted again."""
JOIN_S = 10.0
KEPT_LINES = 500


class LogTail(io.StringIO):
    """A text file that keeps its last lines in memory."""

    def __init__(self, kept: int = KEPT_LINES) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=kept)
        self._written = 0
        self._open = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        with self._lock:
            *whole, self._open = (self._open + text).split("\n")
            self._lines.extend(whole)
            self._written += len(whole)
        return len(text)

    def log(self) -> Log:
        """The lines so far."""
        with self._lock:
            return Log(first=self._written - len(self._lines), lines=tuple(self._lines))


def interrupt() -> None:
    """End this process's run as Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


class Watch:
    """A run while it is watched; at its end the record says how it ended.

    Args:
        gate: closed when the run is asked to end.
        notice: told what was asked.
        interrupt: ends the run in its place.
    """

    def __init__(
        self,
        own: OwnRun,
        gate: Gate,
        log: LogTail,
        notice: Callable[[str], None],
        *,
        tick_s: float = TICK_S,
        beat_s: float = BEAT_S,
        interrupt: Callable[[], None] = interrupt,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own, self._gate, self._log, self._notice = own, gate, log, notice
        self._tick_s, self._beat_s, self._interrupt, self._clock = tick_s, beat_s, interrupt, clock
        self._asked: str | None = None
        self._interrupted = self._beaten = float("-inf")
        self._unheard = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="s2l-watch", daemon=True)
        self.exit_code: int | None = None
        self.answer: dict[str, Any] | None = None
        self.words = ""

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(JOIN_S)
        if error is not None:
            self.exit_code, words = _meaning(error)
            self.words = self.words or words
        if error is not None and self._unheard:
            return  # the store does not answer, and nobody wants to wait for it now
        self._tell(lambda: self._own.write_log(self._log.log()))
        self._tell_avoided()
        self._tell(lambda: self._own.end(1 if self.exit_code is None else self.exit_code, self.answer, self.words))

    def tick(self) -> None:
        """Look once."""
        self._tell(self._look)
        if self._gate.is_overdue():
            self._stop(f"{GRACE_S / 60:g} minutes after --until: what still runs is stopped, and goes on from its checkpoints next time")
        self._tell(lambda: self._own.write_log(self._log.log()))
        self._tell_avoided()
        if self._clock() - self._beaten >= self._beat_s:
            self._beaten = self._clock()
            self._tell(self._own.beat)

    def _look(self) -> None:
        asked = self._own.asked()
        if asked == "drain" and self._asked is None:
            self._gate.cancel("cancelled by s2l cancel")
            self._notice("cancelled: what runs may end, nothing new begins (s2l cancel --now stops at once)")
            self._asked = asked
        if asked == "stop":
            self._gate.cancel("cancelled by s2l cancel --now")
            self._stop("cancelled: stopping now; what was running goes on from its checkpoints next time")

    def _stop(self, words: str) -> None:
        if self._asked != "stop":
            self._notice(words)
            self._asked = "stop"
        if self._clock() - self._interrupted >= INSIST_S:
            self._interrupted = self._clock()
            self._interrupt()

    def _tell(self, work: Callable[[], None]) -> None:
        """Do it if the store answers: whether a run goes on without one is not decided here."""
        try:
            work()
            self._unheard = False
        except (LedgerError, OutOfReach) as error:
            if not self._unheard:
                self._notice(f"this run's record cannot be kept up to date: {error}")
            self._unheard = True

    def _tell_avoided(self) -> None:
        if self._gate.avoided != self._own.record.avoided:
            self._tell(lambda: self._own.avoid(self._gate.avoided))

    def _run(self) -> None:
        self.tick()
        while not self._over.wait(self._tick_s):
            self.tick()


def _meaning(error: BaseException) -> tuple[int, str]:
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, "interrupted; nothing committed is lost, running again goes on from there"
    return (error.exit_code if isinstance(error, S2LError) else 1), f"{type(error).__name__}: {error}"
