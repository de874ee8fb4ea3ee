"""What a person sees while a grid runs: one live line per running stage on a terminal, one line per event elsewhere. All on stderr."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

QUIET_S = 10.0
"""Off a terminal, a running stage is mentioned at most this often."""
SUMMARY_S = 60.0
"""Off a terminal, how the whole run stands is said this often, where stages end."""
KNOWN_SHARE, KNOWN_S = 0.05, 120.0
"""What is left is guessed when so much is done, or when it has run for so long: the first stages are unlike the rest."""
TROUBLE = "trying again"
"""What words about something that went wrong hold."""


class Reporter(Protocol):
    """Told what happens; never raises into the run."""

    def begin(self, total: int, reused: int) -> None: ...

    def again(self, left: int) -> None: ...

    def stage(self, name: str, fraction: float, words: str) -> None: ...

    def finished(self, names: list[str], failed: list[str]) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class Silent:
    """Reports nothing."""

    def begin(self, total: int, reused: int) -> None: ...

    def again(self, left: int) -> None: ...

    def stage(self, name: str, fraction: float, words: str) -> None: ...

    def finished(self, names: list[str], failed: list[str]) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


class Both:
    """Reports to two."""

    def __init__(self, one: Reporter, other: Reporter) -> None:
        self._all = (one, other)

    def begin(self, total: int, reused: int) -> None:
        for reporter in self._all:
            reporter.begin(total, reused)

    def again(self, left: int) -> None:
        for reporter in self._all:
            reporter.again(left)

    def stage(self, name: str, fraction: float, words: str) -> None:
        for reporter in self._all:
            reporter.stage(name, fraction, words)

    def finished(self, names: list[str], failed: list[str]) -> None:
        for reporter in self._all:
            reporter.finished(names, failed)

    def note(self, text: str) -> None:
        for reporter in self._all:
            reporter.note(text)

    def close(self) -> None:
        for reporter in self._all:
            reporter.close()


class _Lasting(Console):
    """A console whose reader may go away: rich would end the program then."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Terminal:
    """A live picture on a terminal, plain lines in a log. Where they can be written no more the run goes on without them."""

    def __init__(self, title: str, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or _Lasting(stderr=True, highlight=False)
        self._title = title
        self._clock = clock
        self._lock = threading.Lock()
        self._total = self._done = self._failed = 0
        self._running: dict[str, tuple[float, str, float]] = {}
        self._said: dict[str, float] = {}
        self._started = self._summed = clock()
        self._live: Live | None = None

    def begin(self, total: int, reused: int) -> None:
        with self._lock:
            self._total, self._done = total, 0
        self.note(f"{self._title}: {total} stages to run, {reused} already done")
        if total and self._console.is_terminal:
            live = Live(get_renderable=self._picture, console=self._console, refresh_per_second=4, transient=True)
            self._live = live if self._show(live.start) else None

    def again(self, left: int) -> None:
        """A new round begins; more or fewer stages are left than was thought."""
        with self._lock:
            self._total = self._done + left

    def stage(self, name: str, fraction: float, words: str) -> None:
        with self._lock:
            if fraction >= 1.0 or words.startswith("failed"):
                self._running.pop(name, None)
                return
            self._running[name] = (fraction, words, self._clock())
            trouble = TROUBLE in words  # said whatever was said a moment ago
            quiet = self._live is not None or (not trouble and self._clock() - self._said.get(name, -QUIET_S) < QUIET_S)
            if not quiet:
                self._said[name] = self._clock()
        if not quiet:
            self._print(f"  {name}: {words}")

    def finished(self, names: list[str], failed: list[str]) -> None:
        with self._lock:
            first, total = self._done + 1, self._total
            self._done += len(names)
            self._failed += len(failed)
            for name in (*names, *failed):
                self._running.pop(name.split(": ")[0], None)
        for done, name in enumerate(names, first):
            self._print(f"[{done}/{total}] {name}")
        for name in failed:
            self._print(f"FAILED {name}")
        if self._live is None and self._clock() - self._summed >= SUMMARY_S:
            self._summed = self._clock()
            self._print(f"-- {self._summary()}")

    def note(self, text: str) -> None:
        self._print(text)

    def close(self) -> None:
        if self._live is not None:
            self._show(self._live.stop)
            self._live = None

    def _print(self, text: str) -> None:
        self._show(lambda: self._console.print(Text(text), soft_wrap=True))

    def _show(self, work: Callable[[], None]) -> bool:
        """Whether it could be shown; after a full disk or a terminal that is gone nothing more is."""
        try:
            work()
        except OSError:
            self._console.quiet = True
            return False
        return True

    def _summary(self) -> str:
        """`12/31 stages, 1 failed, 40 s, about 1 min left`."""
        with self._lock:
            done, failed, total = self._done, self._failed, self._total
        elapsed = self._clock() - self._started
        known = 0 < done < total and (done >= KNOWN_SHARE * total or elapsed >= KNOWN_S)
        left = f", about {_time(elapsed / done * (total - done))} left" if known else ""
        return f"{done}/{total} stages{f', {failed} failed' if failed else ''}, {_time(elapsed)}{left}"

    def _picture(self) -> Table:
        with self._lock:
            running = sorted(self._running.items())
            done, total = self._done, self._total
        table = Table.grid(padding=(0, 1))
        table.add_row(ProgressBar(total=max(total, 1), completed=done, width=24), Text(self._summary()))
        for name, (fraction, words, _) in running:
            bar = ProgressBar(total=1.0, completed=min(max(fraction, 0.0), 1.0), width=24)
            table.add_row(bar, Text(f"{name}: {words}", overflow="ellipsis", no_wrap=True))
        return table


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
