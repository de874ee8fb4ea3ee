"""Waiting until a Ray cluster has its nodes: `python -m cluster.wait_for_nodes HOST:PORT N [--seconds S] [--or-fewer]`.

Launch scripts call it between starting the nodes and starting a grid, so that they wait for what they need and not for a time.
Exit code 0 when the nodes are there, 4 when they are not.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cluster.ray_node import ray_session

_POLL_S = 0.5
_EXIT_OUT_OF_REACH = 4


def wait_for_nodes(address: str, wanted: int, seconds: float) -> int:
    """How many nodes are alive: `wanted` or more, or fewer after that many seconds; 0 when no cluster answers.

    Args:
        address: `host:port` of the head, which must be on this machine or have a Ray node on this machine.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(ConnectionError), ray_session(workers=None, temp=Path(tempfile.gettempdir()), address=address):
            return _poll(_alive, wanted, deadline)
        if time.monotonic() > deadline:
            return 0
        time.sleep(_POLL_S)


def _poll(count: Callable[[], int], wanted: int, deadline: float) -> int:
    while (found := count()) < wanted and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return found


def _alive() -> int:
    import ray

    return sum(1 for node in ray.nodes() if node["Alive"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster.wait_for_nodes", description="Wait until a Ray cluster has its nodes.")
    parser.add_argument("address", metavar="HOST:PORT", help="of the head, from a machine that has a Ray node")
    parser.add_argument("nodes", metavar="N", type=int, help="nodes to wait for, the head counted")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long to wait [default: 180]")
    parser.add_argument("--or-fewer", action="store_true", help="when the time is up, one node is enough")
    asked = parser.parse_args()
    found = wait_for_nodes(asked.address, asked.nodes, asked.seconds)
    if found >= asked.nodes:
        return 0
    came = f"{found} of {asked.nodes} nodes came to {asked.address} within {asked.seconds:g} s"
    if found and asked.or_fewer:
        print(f"wait_for_nodes: {came}; going on with those", file=sys.stderr)
        return 0
    print(f"wait_for_nodes: {came}; look at the logs of the nodes that did not, and at the token they were started with", file=sys.stderr)
    return _EXIT_OUT_OF_REACH


if __name__ == "__main__":
    sys.exit(main())
