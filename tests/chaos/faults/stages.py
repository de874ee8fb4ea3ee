"""Stages that go wrong from within: NaN, memory, silence, and one that kills whoever runs it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.chaos.fault import Fault, Injected, NotNow, for_seconds, until_code, until_told
from tests.chaos.misbehave import pull
from tests.chaos.world import World

_CGROUPS = Path("/sys/fs/cgroup/memory")
_LIMIT = 1500 << 20


def _triggered(what: str, *kinds: str, words: str) -> Callable[[World, random.Random], Injected]:
    def inject(world: World, rng: random.Random) -> Injected:
        taken = pull(world.triggers, what, kinds, rng.randrange(10**9))
        return Injected(words, hit=taken.exists)

    return inject


def can_limit_memory() -> str:
    """Why this machine cannot limit the memory of a process by a group of its own; empty when it can."""
    name = _CGROUPS / f"s2l-try-{uuid.uuid4().hex[:6]}"
    try:
        name.mkdir()
        (name / "memory.limit_in_bytes").write_text(str(_LIMIT))
    except OSError as error:
        return f"no memory cgroup (v1) can be made here: {error.strerror}"
    finally:
        with contextlib.suppress(OSError):
            name.rmdir()
    return ""


def _limited_group(world: World, rng: random.Random) -> Injected:
    if can_limit_memory():
        raise NotNow
    group = _CGROUPS / f"s2l-chaos-{os.getpid()}-{rng.randrange(10**9)}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(_LIMIT))
    taken = pull(world.triggers, "cgroup", ["shake", "score"], rng.randrange(10**9), group=str(group))

    def mend() -> None:
        with contextlib.suppress(OSError):  # not empty: a process is about to die in it
            group.rmdir()

    return Injected("a stage goes beyond its memory cgroup", hit=taken.exists, mend=mend)


def _poison(world: World, rng: random.Random) -> Injected:
    taken = pull(world.triggers, "poison", ["shake", "score"], rng.randrange(10**9), for_good=True)

    def mend() -> None:
        status = world.command("status", world.grid).stdout
        if not re.search(r"died|quarantin|poison", status):
            raise AssertionError(f"status does not name the stage that kills its workers:\n{status}")
        for poisoned in world.triggers.glob("poisoned-*"):
            poisoned.unlink()

    return Injected("a stage that kills its worker each time", hit=taken.exists, mend=mend)


STAGES = (
    Fault("nan-loss", "NaN loss", _triggered("nan", "shake", words="a weight is NaN while a shake trains"), told=r"numerical"),
    Fault(
        "oom-allocator",
        "out of memory, by a fake allocator",
        _triggered("fake-allocator", "shake", "score", words="an allocation fails"),
        told=r"oom|out of memory",
    ),
    Fault(
        "oom-rlimit",
        "out of memory, by rlimit",
        _triggered("rlimit", "shake", "score", words="the system refuses an allocation"),
        told=r"oom|out of memory",
    ),
    Fault(
        "hung",
        "a hung trial",
        _triggered("hang", "shake", "score", words="a stage stands still"),
        told=r"no progress for \d+ s: ended the worker",
        over=until_told("ended the worker"),
    ),
    Fault("oom-cgroup", "out of memory, by cgroup", _limited_group, over=for_seconds(3), told=r"a worker was lost"),
    Fault(
        "poison",
        "a trial that always kills its worker",
        _poison,
        over=until_code(3),
        told=r"FAILED .*died each time",
        codes=frozenset({3}),
        moments=(0.5, 0.7),
    ),
)
