"""Stages that hang on another node than the driver's, or take their nodes down; nodes that come late: raylets on hosts of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import unruly_runs
from tests.namespaces import needs_namespaces, network
from tests.ray_nodes import RayNodes, ray_nodes
from tests.s2l_process import wait_for
from tests.unruly_runs import Unruly

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Unruly, Callable[[], dict[str, int]]]]:
    """A folder that all nodes share, and a way to run its grid from the head, which runs no trials."""
    needs_namespaces()
    found = Unruly(tmp_path)
    with network("head", "n1", "n2", "n3") as hosts, ray_nodes(hosts, env={"UNRULY": str(tmp_path)}) as nodes:
        yield found, lambda: _run(found, nodes)


def test_a_run_waits_for_the_first_node_of_a_cluster_that_grows(tmp_path: Path) -> None:
    needs_namespaces()
    unruly = Unruly(tmp_path)
    unruly.prepare({0: ["good"], 1: ["good"]}, {})
    with network("head", "late") as hosts, ray_nodes({"head": hosts["head"]}, env={"UNRULY": str(tmp_path)}) as nodes:
        driver = nodes.head.start(_driver(unruly, nodes), env=nodes.env, log=unruly.log)
        assert wait_for(lambda: "waiting for one that has room for" in unruly.said(), "the wait to be told"), unruly.said()
        nodes.workers["late"] = hosts["late"]
        nodes.start_worker("late")
        assert driver.wait(400) == 0, unruly.said()
    assert unruly.counts() == {"done": 2, "failed": 0, "blocked": 0}
    assert {one["host"] for seed in (0, 1) for one in unruly.tries(seed)} == {"late"}


def _driver(world: Unruly, nodes: RayNodes) -> list[str]:
    return [sys.executable, unruly_runs.__file__, str(world.folder), "3", nodes.address]


def _run(world: Unruly, nodes: RayNodes) -> dict[str, int]:
    done = nodes.head.run(_driver(world, nodes), env=nodes.env, timeout=600)
    world.log.write_text(done.stdout + done.stderr)
    assert done.returncode == 0, world.said()
    return world.counts()


def test_a_worker_that_hangs_on_another_node_is_ended_there_and_its_unit_goes_on(world: Any) -> None:
    unruly, run = world
    unruly.prepare({0: ["hang", "good"], 1: ["hang"], 2: ["good"]}, {"hung": {"after_s": 15, "tries": 2}})
    assert run() == {"done": 2, "failed": 1, "blocked": 0}, unruly.said()
    hung = [one for seed in (0, 1) for one in unruly.tries(seed) if one["how"] == "hang"]
    assert len(hung) == 3
    for one in hung:
        assert one["host"] != "head"
        assert f"ended the worker {one['pid']} on {one['host']}" in unruly.said()
        assert not psutil.pid_exists(one["pid"])
    (failure,) = unruly.failures()
    assert (failure.error_class, failure.host) == ("hung", unruly.tries(1)[-1]["host"])
    assert "_hang" in failure.traceback, "the stacks came over from the other node"


def test_a_unit_that_takes_its_nodes_down_is_given_up_by_name_and_all_others_finish(world: Any) -> None:
    unruly, run = world
    unruly.prepare({0: ["down"], 1: ["good"], 2: ["good"]}, {"preempted": {"nodes": 2}})
    assert run() == {"done": 2, "failed": 1, "blocked": 0}, unruly.said()
    assert len({one["host"] for one in unruly.tries(0)}) == len(unruly.tries(0)) == 2
    (failure,) = unruly.failures()
    assert (failure.kind, failure.error_class, failure.tries) == ("shake", "preempted", 2)
    assert "the node went away each time it ran this stage, twice: does it take its nodes down" in failure.message
    assert "'try 2, down'" in failure.message


def test_a_node_on_which_every_worker_dies_is_avoided_and_all_units_are_done_elsewhere(world: Any) -> None:
    unruly, run = world
    seeds = range(6)
    unruly.prepare({seed: ["die_on_n1"] for seed in seeds}, {"preempted": {"tries": 3}, "node": {"lost": 2}})
    assert run() == {"done": len(seeds), "failed": 0, "blocked": 0}, unruly.said()
    assert unruly.failures() == []
    assert unruly.said().count("from now on this run avoids node n1 (") == 1
    assert "2 units in a row were lost there, and none got anything done; the last that was seen: 'try 1, die_on_n1'" in unruly.said()
    on_n1 = [one["seed"] for seed in seeds for one in unruly.tries(seed) if one["host"] == "n1"]
    assert len(on_n1) == len(set(on_n1))
    assert 2 <= len(on_n1) <= 3, "one may have begun before the board knew"


def test_a_node_that_is_avoided_is_used_again_when_no_other_is_left(tmp_path: Path) -> None:
    needs_namespaces()
    unruly = Unruly(tmp_path)
    unruly.prepare({seed: ["die_on_n1"] for seed in range(4)}, {"preempted": {"tries": 2}, "node": {"lost": 2}})
    with network("head", "n1", "n2") as hosts, ray_nodes(hosts, env={"UNRULY": str(tmp_path)}) as nodes:
        driver = nodes.head.start(_driver(unruly, nodes), env=nodes.env, log=unruly.log)
        assert wait_for(lambda: "this run avoids node n1" in unruly.said(), "the node to be avoided", process=driver), unruly.said()
        hosts["n2"].kill()
        assert driver.wait(400) == 0, unruly.said()
    assert "no other node that has room is left, so that the nodes which this run avoided are used again" in unruly.said()
    counts = unruly.counts()
    assert counts["done"] + counts["failed"] == 4
    assert counts["failed"] >= 1
