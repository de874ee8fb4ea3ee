"""What is tried again, how often and after which wait: the section `retry` of a grid file. No part of any key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, PositiveFloat

from s2l_core.specs.base import Spec

Tries = Annotated[int, Field(ge=1, le=1000)]
JITTER = 0.25
"""Waits are this much shorter or longer, by a number drawn from the key: workers that met one outage do not come back all at once."""


class Transient(Spec):
    """The store, a hub or the network does not answer, or the disk is full. Waits double from `wait_s` up to `longest_wait_s`."""

    tries: Tries = 10
    wait_s: Annotated[float, Field(ge=0)] = 2.0
    longest_wait_s: PositiveFloat = 60.0

    def waits(self, key: str) -> Iterator[float]:
        """The seconds to wait before the second try, the third and so on; the same ones for the same key."""
        for number in range(self.tries - 1):
            whole = min(self.wait_s * 2.0**number, self.longest_wait_s)
            yield whole * (1.0 + JITTER * (2.0 * _share(key, number) - 1.0))


class OutOfMemory(Spec):
    """No memory left, on the CPU or a GPU. Every further try halves the micro-batch, with the same effective batch."""

    tries: Tries = 4


class Numerical(Spec):
    """A loss or a gradient is no finite number."""

    tries: Tries = 2


class Unknown(Spec):
    """Any other error of a stage."""

    tries: Tries = 1


class Hung(Spec):
    """A stage shows no progress for `after_s` seconds: its worker is killed and the unit begins again in another one."""

    tries: Tries = 2
    after_s: PositiveFloat = 1800.0


class Preempted(Spec):
    """The worker died while its node lives on: killed, or out of memory.

    A node that goes away counts by itself, up to `nodes`: a unit that takes its nodes down must end too. So does a notice to leave, up to
    `notices` in a row between which the unit got no further (no stage was committed, no newer checkpoint kept): a unit for whose memory its
    node evicts it must end too.
    """

    tries: Tries = 4
    nodes: Tries = 10
    notices: Tries = 10


class Node(Spec):
    """A node on which so many different units in a row were lost, while none got anything done there, is avoided for the rest of the run.

    Lost are units whose worker died, hung, could not be made or did not reach the store, while the node lives. With more than half of the
    nodes like that no node is avoided: it is the units, then.
    """

    lost: Tries = 3


class RetryPolicy(Spec):
    """How often each class of failure is tried within one run. `tries` counts the first one too."""

    transient: Transient = Transient()
    oom: OutOfMemory = OutOfMemory()
    numerical: Numerical = Numerical()
    unknown: Unknown = Unknown()
    hung: Hung = Hung()
    preempted: Preempted = Preempted()
    node: Node = Node()

    def tries(self, failure_class: str) -> int:
        """How often a stage is tried whose failures are of this class; what cannot work is tried once."""
        found = getattr(self, failure_class, None)
        return int(found.tries) if found is not None else 1


def _share(key: str, number: int) -> float:
    """A number in 0..1 that only depends on the key and the try."""
    return int.from_bytes(hashlib.sha256(f"{key} {number}".encode()).digest()[:8], "big") / 2.0**64
