"""Hosts that go: a worker's host is cut off and loses its power, the head is restarted."""

from __future__ import annotations

import random
import time

from tests.chaos.cluster import Cluster
from tests.chaos.fault import Fault, Injected, NotNow, for_seconds
from tests.chaos.faults.processes import ALREADY, KILLED
from tests.chaos.world import World, pick


def _node_gone(world: World, rng: random.Random) -> Injected:
    """The link goes down; a little later whatever still ran there is gone, as after a power cut."""
    cluster: Cluster = world.parts["cluster"]
    busy = [host for host in cluster.nodes if any(worker.pid in host.pids() for worker in cluster.workers())]
    if not busy:
        raise NotNow
    host = pick(rng, busy)
    host.cut()
    cluster.away.add(host.name)
    time.sleep(rng.uniform(0.5, 3.0))
    host.kill()

    def mend() -> None:
        host.join()
        cluster.away.discard(host.name)
        cluster.start_node(host)

    return Injected("link of a node down, then all its processes killed", mend=mend)


def _head_restarted(world: World, rng: random.Random) -> Injected:
    """The head's host loses its power with the driver on it. It comes back, and so do the nodes, which cannot live without it."""
    cluster: Cluster = world.parts["cluster"]
    drivers = world.running()
    if not drivers or cluster.away or not cluster.workers():  # a node that is cut off could not come back with the head
        raise NotNow
    for driver in drivers:
        driver.killed = True
    cluster.head.kill()
    return Injected("head's host killed with the driver on it, and started again", mend=cluster.restart)


_TOLD = r"a worker was lost|The node .* has been marked dead"
"""By us when it ran something, by Ray when it did not."""

NODES = (
    Fault(
        "node-gone",
        "a node's link down, then killed",
        _node_gone,
        for_seconds(20),
        told=_TOLD,
    ),
    Fault("head-restarted", "head node restarted", _head_restarted, for_seconds(1), ALREADY, KILLED, waits=True),
)
