"""A fault is a value: what is done to a running grid, for how long, and what the user must be able to read afterwards."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.world import Driver, World

AT_START = (0.0, 0.0)
"""The moments of a fault that is there before the first driver."""


class NotNow(Exception):
    """The fault cannot be injected at this moment, such as a kill where no worker runs; a moment later it may."""


@dataclass
class Injected:
    """One injection.

    Attributes:
        did: what was done, in words.
        hit: whether it has met something that runs; until then it is not over.
        mend: undoes it.
        ended, witnesses: drivers that had ended when it began, and those that ran.
        told_before: how long each log was then.
        at: how many stages were committed then.
        since, seconds: when it began, by the clock that only goes forward, and how long it lasted.
        codes: of drivers that ended while it lasted.
    """

    did: str
    hit: Callable[[], bool] = lambda: True
    mend: Callable[[], None] = lambda: None
    ended: tuple[Driver, ...] = ()
    witnesses: tuple[Driver, ...] = ()
    told_before: dict[Path, int] = field(default_factory=dict)
    at: int = 0
    since: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    codes: tuple[int, ...] = ()


Over = Callable[[World, Injected], bool]


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: in the log and in the table; title: in words.
        inject: does it. Raises NotNow.
        over: whether it is time to mend it; asked until it is.
        told: a pattern that what the user reads from then on must hold. Empty: the grid goes on as if nothing had been.
        codes: exit codes that a driver may end with because of it; the same command then goes on.
        moments: the part of the grid in which it happens.
        waits: no driver is started again while it lasts.
    """

    name: str
    title: str
    inject: Callable[[World, random.Random], Injected]
    over: Over = lambda world, injected: True
    told: str = ""
    codes: frozenset[int] = frozenset()
    moments: tuple[float, float] = (0.03, 0.9)
    waits: bool = False


def for_seconds(seconds: float) -> Over:
    """Over after so long."""
    return lambda world, injected: time.monotonic() - injected.since >= seconds


def until_share(share: float) -> Over:
    """Over when so much of the grid is done."""
    return lambda world, injected: len(world.seen) >= share * world.total


def until_code(code: int) -> Over:
    """Over when a driver has ended with that code."""
    return lambda world, injected: any(
        driver.process.poll() == code for driver in world.drivers if not any(driver is before for before in injected.ended)
    )


def until_told(pattern: str) -> Over:
    """Over when the user could read so since it was injected."""
    return lambda world, injected: re.search(pattern, world.told(injected.told_before)) is not None


def until_done(world: World, injected: Injected) -> bool:
    """Over when the grid is done and no driver runs."""
    return len(world.seen) >= world.total and not world.running()
