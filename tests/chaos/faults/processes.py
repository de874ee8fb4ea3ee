"""Processes that die: workers, drivers, both with and without notice; and two drivers at once."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
from typing import Any

import psutil

from tests.chaos.fault import Fault, Injected, NotNow
from tests.chaos.world import MOST_DRIVERS, Driver, World, pick


def _worker(world: World, rng: random.Random) -> Any:
    workers = world.workers()
    if not workers:
        raise NotNow
    return pick(rng, workers)


def _driver(world: World, rng: random.Random) -> Driver:
    """A driver that has begun to work: one that still starts has nothing to lose."""
    found = [driver for driver in world.running() if driver.log.exists() and "stages to run" in driver.log.read_text()]
    if not found:
        raise NotNow
    chosen: Driver = pick(rng, found)
    return chosen


def _kill_worker(world: World, rng: random.Random) -> Injected:
    with contextlib.suppress(psutil.NoSuchProcess):
        _worker(world, rng).kill()
        return Injected("kill -9 of a worker")
    raise NotNow


def _warn_worker(world: World, rng: random.Random) -> Injected:
    with contextlib.suppress(psutil.NoSuchProcess):
        _worker(world, rng).terminate()
        return Injected("SIGTERM to a worker")
    raise NotNow


def _kill_driver(world: World, rng: random.Random) -> Injected:
    world.kill(_driver(world, rng))
    return Injected("kill -9 of a driver")


def _warn_driver(world: World, rng: random.Random) -> Injected:
    driver = _driver(world, rng)
    driver.process.send_signal(signal.SIGTERM)
    return Injected("SIGTERM to a driver", hit=lambda: not driver.runs)


def _interrupt_driver(world: World, rng: random.Random) -> Injected:
    driver = _driver(world, rng)
    driver.process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.process.wait(rng.uniform(0.2, 1.5))
    if driver.runs:
        driver.process.send_signal(signal.SIGINT)
    return Injected("Ctrl-C, and again a moment later", hit=lambda: not driver.runs)


def _second_driver(world: World, rng: random.Random) -> Injected:
    if not 1 <= len(world.running()) < MOST_DRIVERS:
        raise NotNow
    second = world.start()
    return Injected("a second driver on the same grid", hit=lambda: "stages to run" in second.log.read_text() or not second.runs)


ALREADY = r"stages to run, \d+ already done"
GOES_ON = ALREADY + r'|^\{"grid": '
"""By the driver that is started next, or by another one that went on to the end."""
KILLED = frozenset({-signal.SIGKILL})

PROCESSES = (
    Fault("worker-killed", "worker kill -9", _kill_worker, told=r"a worker was lost"),
    Fault("worker-warned", "preemption notice to a worker", _warn_worker, told=r"was told to leave|a worker was lost"),
    Fault("driver-killed", "driver kill -9, same command again", _kill_driver, told=GOES_ON, codes=KILLED),
    Fault(
        "driver-warned",
        "preemption notice to the driver",
        _warn_driver,
        told=r"interrupted; nothing committed is lost",
        codes=frozenset({130}),
    ),
    Fault("ctrl-c", "Ctrl-C twice", _interrupt_driver, told=r"interrupted; nothing committed is lost", codes=frozenset({130})),
    Fault("two-drivers", "two drivers on the same grid", _second_driver, told=ALREADY, moments=(0.03, 0.6)),
)
