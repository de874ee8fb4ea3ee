"""Clocks that are wrong: a driver whose machine is an hour ahead or a day behind works beside one whose clock is right."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.chaos.fault import Fault, Injected, NotNow
from tests.chaos.faults.processes import ALREADY
from tests.chaos.world import MOST_DRIVERS, World
from tests.s2l_process import ROOT

SKEW = ROOT / "tests" / "chaos" / "skew"


def _skewed_driver(seconds: int, words: str) -> Callable[[World, random.Random], Injected]:
    def inject(world: World, rng: random.Random) -> Injected:
        if not 1 <= len(world.running()) < MOST_DRIVERS:
            raise NotNow
        path = f"{SKEW}:{world.environment()['PYTHONPATH']}"
        second = world.start(S2L_CHAOS_SKEW_S=str(seconds), PYTHONPATH=path)
        return Injected(words, hit=lambda: "stages to run" in second.log.read_text() or not second.runs)

    return inject


CLOCKS = (
    Fault(
        "clock-ahead",
        "a second driver with a clock an hour ahead",
        _skewed_driver(3600, "a driver an hour ahead joins"),
        told=ALREADY,
        moments=(0.03, 0.6),
    ),
    Fault(
        "clock-behind",
        "a second driver with a clock a day behind",
        _skewed_driver(-86_400, "a driver a day behind joins"),
        told=ALREADY,
        moments=(0.03, 0.6),
    ),
)
