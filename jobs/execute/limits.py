"""What a run may use and when it has to end. Pure bookkeeping: clocks come in, nothing is read, started or stopped here."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.errors import InputError
from jobs.execute.units import Unit

GRACE_S = 600.0
"""How long after `--until` what runs may go on; then it is stopped, and goes on from its checkpoints another time."""
_HAIR = 1e-9
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class Limits:
    """What a run may use; nothing here changes a key or a result.

    Attributes:
        max_gpus: GPUs in use at a time.
        until: seconds since the epoch, after which nothing new begins.
        budget: GPU hours; worker hours where units take no GPU.
    """

    max_gpus: float | None = None
    until: float | None = None
    budget: float | None = None


@dataclass(frozen=True)
class Stop:
    """Why a run ended before everything was done.

    Attributes:
        why: `cancelled`, `until`, `budget` or `interrupted`.
        words: the same for a person, with figures.
        stages, trials: how many of them were left, that running again would do; None where it ended before that was known.
    """

    why: str
    words: str
    stages: int | None = None
    trials: int | None = None


@dataclass
class _Mean:
    count: int = 0
    hours: float = 0.0

    @property
    def hours_each(self) -> float:
        return self.hours / self.count if self.count else 0.0


class Gate:
    """Says whether the next unit may start now. A gate that was closed never opens again.

    Attributes:
        avoided: a sentence for each node that the run does not use any more.

    Args:
        clock: a steady clock in seconds, for what was used.
        wall: seconds since the epoch, for `until`.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits or Limits()
        self._clock, self._wall = clock, wall
        self._gpus = 0.0
        self._of: Callable[[Unit], float] | None = None
        self._slots: int | None = None
        self._used = 0.0
        self._means: dict[str, _Mean] = {}
        self._running: dict[str, tuple[Unit, float]] = {}
        self._cancelled = ""
        self.avoided: tuple[str, ...] = ()
        self._said: tuple[str, str] = ("", "")

    def offer(self, *, gpus: float, slots: int | None = None, of: Callable[[Unit], float] | None = None) -> None:
        """Say what units take and how many fit.

        Args:
            gpus: GPUs of one unit; 0 where it takes none.
            slots: how many units the machines can run at once.
            of: GPUs of each unit, where they differ.

        Raises:
            InputError: `max_gpus` is less than one unit takes, or there is nothing that it could limit.
        """
        most = self.limits.max_gpus
        if most is not None and gpus <= 0:
            raise InputError(f"--max-gpus {most:g}: trials take no GPU here; leave it out (--workers limits trials on this machine)")
        if most is not None and most + _HAIR < gpus:
            raise InputError(f"--max-gpus {most:g}: one trial takes {gpus:g} GPUs; give at least as many, or a smaller --gpu-share")
        self._gpus, self._slots, self._of = gpus, slots, of

    def cancel(self, words: str) -> None:
        """Let nothing start any more. May be called from any thread."""
        self._cancelled = self._cancelled or words

    def is_closed(self) -> bool:
        """True when nothing will start any more, whatever ends."""
        return bool(self._cancelled) or self._too_late()

    def is_overdue(self) -> bool:
        """True when what still runs has had its time."""
        return self.limits.until is not None and self._wall() >= self.limits.until + GRACE_S

    def admits(self, unit: Unit) -> bool:
        """Whether the unit may start now; a no may become a yes when something ends, unless the gate is closed."""
        self._said = self._refusal(unit)
        return not self._said[0]

    def began(self, unit: Unit) -> None:
        self._running[unit.id] = (unit, self._clock())

    def ended(self, unit: Unit, seconds: float = 0.0) -> None:
        """Note what a unit used.

        Args:
            seconds: how long its worker was at it; 0 when it did not live to tell.
        """
        _, since = self._running.pop(unit.id, (unit, self._clock()))
        hours = self._hours(unit, seconds or self._clock() - since)
        self._used += hours
        if seconds:
            mean = self._means.setdefault(_kind(unit), _Mean())
            mean.count, mean.hours = mean.count + 1, mean.hours + hours

    def returned(self, unit: Unit) -> None:
        """A unit that was handed out did not begin after all."""
        self._running.pop(unit.id, None)

    def stopped(self, stages: int | None = None, trials: int | None = None) -> Stop:
        """Why nothing more starts."""
        why, words = self._closed() if self.is_closed() else self._said
        return Stop(why or "cancelled", words, stages, trials)

    # --- inside ---

    def _too_late(self) -> bool:
        return self.limits.until is not None and self._wall() >= self.limits.until

    def _closed(self) -> tuple[str, str]:
        if self._cancelled:
            return "cancelled", self._cancelled
        return "until", f"--until {datetime.fromtimestamp(self.limits.until or 0.0):%Y-%m-%d %H:%M} has come"

    def _refusal(self, unit: Unit) -> tuple[str, str]:
        if self.is_closed():
            return self._closed()
        most = self.limits.max_gpus
        taken = sum(self._takes(other) for other, _ in self._running.values()) if most is not None else 0.0
        if most is not None and taken + self._takes(unit) > most + _HAIR:
            return "max_gpus", f"--max-gpus {most:g} are in use"
        return self._over_budget(unit)

    def _over_budget(self, unit: Unit) -> tuple[str, str]:
        """With a budget no more is handed out than can run: what only waits for a worker must not count as use."""
        budget = self.limits.budget
        if budget is None:
            return "", ""
        if self._slots is not None and len(self._running) >= self._slots:
            return "slots", "every worker is at work"
        promised = sum(self._expected(other, since) for other, since in self._running.values())
        needed = self._mean(unit)
        if self._used + promised >= budget or self._used + promised + needed > budget:
            return "budget", self._told_budget(budget, unit, needed)
        return "", ""

    def _expected(self, unit: Unit, since: float) -> float:
        """Hours that a unit will have used: the mean of its kind so far, or what it has used when that is more."""
        return max(self._mean(unit), self._hours(unit, self._clock() - since))

    def _mean(self, unit: Unit) -> float:
        """Hours that a unit of its kind took so far; 0 while none has ended."""
        return self._means.get(_kind(unit), _Mean()).hours_each

    def _takes(self, unit: Unit) -> float:
        return self._of(unit) if self._of is not None else self._gpus

    def _hours(self, unit: Unit, seconds: float) -> float:
        """What a unit used: GPU hours, or worker hours where it takes no GPU."""
        return seconds / 3600.0 * (self._takes(unit) or 1.0)

    def _told_budget(self, budget: float, unit: Unit, needed: float) -> str:
        unit_of = "GPU hours" if self._gpus else "worker hours"
        left = max(0.0, budget - self._used)
        following = f"; the next {_kind(unit)} takes about {needed:.3g}" if needed else ""
        return f"--budget {budget:g}: {self._used:.3g} {unit_of} used, {left:.3g} left{following}"


def _kind(unit: Unit) -> str:
    """Units of one kind take about equally long."""
    return "cell" if unit.kind == "cell" else unit.nodes[0].kind


def parse_until(text: str, now: datetime) -> datetime:
    """The moment that a user named.

    Args:
        text: a time of day (the next one to come, on this machine's clock), or an ISO date and time (local where it names no zone).
        now: this machine's local time, without a zone.

    Raises:
        InputError: it is neither, or has passed.
    """
    text = text.strip()
    if found := _TIME.fullmatch(text):
        today = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
        return (today if today > now else today + timedelta(days=1)).astimezone()
    try:
        moment = datetime.fromisoformat(text) if re.match(r"\d{4}-?\d\d-?\d\d.?\d\d", text) else None
    except ValueError:
        moment = None
    if moment is None:
        raise InputError(f"--until {text}: no time that can be read; give a time of day such as 06:00, or 2026-12-01T06:00")
    if moment.astimezone() <= now.astimezone():
        raise InputError(
            f"--until {text}: that time has passed (it is {now:%Y-%m-%d %H:%M}); give one to come, or a time of day such as 06:00"
        )
    return moment.astimezone()
