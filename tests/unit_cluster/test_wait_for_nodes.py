"""Waiting for the nodes of a cluster: for what is needed, not for a time. On real clusters: tests/integration/test_slurm.py."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

from cluster import wait_for_nodes
from tests.compose_bed import ROOT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cluster.wait_for_nodes", *words]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)


def test_no_cluster_is_said_with_what_was_asked_for_and_exit_code_4() -> None:
    address = f"127.0.0.1:{free_port()}"
    done = run(address, "3", "--seconds", "0")
    assert done.returncode == 4
    assert f"0 of 3 nodes came to {address} within 0 s; look at the logs" in done.stderr


def test_no_node_at_all_is_not_fewer() -> None:
    assert run(f"127.0.0.1:{free_port()}", "3", "--seconds", "0", "--or-fewer").returncode == 4


def test_it_ends_as_soon_as_all_are_there() -> None:
    seen = iter([1, 2, 3, 9])
    assert wait_for_nodes._poll(lambda: next(seen), 3, deadline=time.monotonic() + 3600) == 3
    assert next(seen) == 9


def test_when_the_time_is_up_it_says_how_many_came() -> None:
    assert wait_for_nodes._poll(lambda: 2, 3, deadline=0.0) == 2
