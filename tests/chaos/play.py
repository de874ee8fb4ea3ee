"""One grid from its start to its end, with faults thrown at it at moments that a seed has drawn."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.errors import EXIT_INTERRUPTED
from tests.chaos.fault import AT_START, Fault, Injected, NotNow
from tests.chaos.world import PATIENCE_S, POLL_S, Broken, World

RESTARTS = 40
"""So many drivers a grid may use up; more means that it does not get on."""


@dataclass
class Planned:
    """A fault and the moment for it, as a number of committed stages."""

    fault: Fault
    at: int


def draw(faults: Sequence[Fault], total: int, rng: random.Random) -> list[Planned]:
    """A moment for each fault, within the part of the grid that it is for."""
    planned = [Planned(fault, int(rng.uniform(*fault.moments) * total)) for fault in faults]
    return sorted(planned, key=lambda one: one.at)


class Play:
    """Runs the grid of a world with faults; `done` holds what was injected."""

    def __init__(
        self, world: World, planned: Sequence[Planned], rng: random.Random, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self._world, self._rng, self._say = world, rng, say
        self._waiting = list(planned)
        self._open: list[tuple[Fault, Injected]] = []
        self.done: list[tuple[Fault, Injected]] = []

    def run(self) -> None:
        """To the end of the grid.

        Raises:
            Broken: a promise was broken on the way.
        """
        try:
            self._inject_at_start()
            self._world.start()
            self._until_done()
        except BaseException:
            for _, injected in self._open:
                with contextlib.suppress(Exception):  # what was broken first is what counts
                    injected.mend()
            raise

    def _until_done(self) -> None:
        last, changed = -1, time.monotonic()
        while True:
            count = self._world.observe()
            self._inject_due(count)
            self._mend_due()
            self._keep_running()
            now = count + len(self.done) + len(self._world.drivers)
            last, changed = (now, time.monotonic()) if now != last else (last, changed)
            if time.monotonic() - changed > PATIENCE_S:
                raise Broken(f"nothing has changed for {PATIENCE_S:.0f} s: {count} of {self._world.total} stages are done")
            if not self._open and not self._world.running() and self._world.drivers[-1].process.returncode == 0:
                return
            time.sleep(POLL_S)

    def _inject_due(self, count: int) -> None:
        """The first fault whose moment has come and that can be injected now, unless another one keeps drivers from being started."""
        for planned in self._waiting:
            if planned.at > count or any(fault.waits for fault, _ in self._open):
                return
            if self._inject(planned.fault, count):
                self._waiting.remove(planned)
                return  # one at a time, and a look in between

    def _inject_at_start(self) -> None:
        """What is to be broken before the first driver is there."""
        for planned in [one for one in self._waiting if one.fault.moments == AT_START]:
            self._inject(planned.fault, 0)
            self._waiting.remove(planned)

    def _inject(self, fault: Fault, count: int) -> bool:
        ended = tuple(driver for driver in self._world.drivers if not driver.runs)
        witnesses = tuple(driver for driver in self._world.drivers if driver.runs)
        told = self._world.marks()
        for driver in self._world.running():
            driver.codes |= fault.codes
        try:
            injected = fault.inject(self._world, self._rng)
        except NotNow:
            return False
        injected.ended, injected.witnesses, injected.told_before, injected.at = ended, witnesses, told, count
        self._open.append((fault, injected))
        self._say(f"  at {count}/{self._world.total}: {injected.did}")
        return True

    def _mend_due(self) -> None:
        """End what is over, and at the end of the grid everything; what has met nothing by then was not injected at all."""
        ended = self._grid_is_over()
        for fault, injected in list(self._open):
            met = injected.hit()
            if not ended and not (met and fault.over(self._world, injected)):
                continue
            injected.seconds = time.monotonic() - injected.since
            injected.codes = self._codes_since(injected)
            injected.mend()
            self._open.remove((fault, injected))
            if met:
                self.done.append((fault, injected))
            else:
                self._say(f"  {fault.name} has met nothing, and does not count")

    def _codes_since(self, injected: Injected) -> tuple[int, ...]:
        ended = [driver for driver in self._world.drivers if not any(driver is before for before in injected.ended)]
        return tuple(code for driver in ended if (code := driver.process.poll()) is not None)

    def _grid_is_over(self) -> bool:
        return len(self._world.seen) >= self._world.total and not self._world.running()

    def _keep_running(self) -> None:
        world = self._world
        if world.running():
            return
        last = world.drivers[-1]
        world.explain(last)
        if last.process.returncode == 0 or any(fault.waits for fault, _ in self._open):
            return
        if len(world.drivers) >= RESTARTS:
            raise Broken(f"{RESTARTS} drivers were started, and the grid is not done")
        driver = world.start()
        for fault, _ in self._open:
            driver.codes |= fault.codes


def what_was_told(fault: Fault, injected: Injected, told: str) -> str:
    """The line in which the user was told of the fault, without what belongs to this machine alone.

    Raises:
        Broken: nothing was told.
    """
    if not fault.told:
        return ""
    for line in told.splitlines():
        if re.search(fault.told, line):
            return _without_names(line)
    if injected.witnesses and all(driver.killed or driver.process.poll() == EXIT_INTERRUPTED for driver in injected.witnesses):
        return "(the driver that saw it was ended itself before it could tell)"
    raise Broken(f"{fault.name}: nobody was told; expected {fault.told!r} after it")


def _without_names(line: str) -> str:
    """The line without folders, addresses and hosts."""
    line = re.sub(r"(/[\w.+-]+){2,}/?", "PATH", line.replace(socket.gethostname(), "HOST"))
    return re.sub(r"127\.0\.0\.1:\d+|10(\.\d+){3}", "ADDRESS", line).strip()[:240]
