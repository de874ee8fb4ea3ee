"""Which nodes a run stops using, and when it uses them again."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from jobs.execute import backends
from jobs.execute.avoided import Avoided, Node, not_on
from jobs.execute.backends import RayBackend
from jobs.execute.board import News, Place
from jobs.execute.limits import Gate
from jobs.execute.losses import Verdict
from jobs.execute.options import RunOptions
from jobs.execute.over import CLOSED_S, Over
from jobs.execute.queue import Outcome
from jobs.execute.tune_backend import _placement
from jobs.execute.units import Unit
from jobs.placement.estimate import Shape
from jobs.placement.shapes import has_room
from jobs.plan.graph import Graph
from jobs.policy import RetryPolicy
from jobs.runs.record import RunRecord
from jobs.runs.registry import Runs
from jobs.runs.shown import shown, told
from jobs.runs.watch import LogTail, Watch
from jobs.stages.specs import DataStage, DrawnFaces
from jobs.store.open import open_store
from tests.unit_jobs.test_losses import Reader

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.execute.backends import Running
    from jobs.worker.warm import Scratch

LIMIT = 3


class Cluster:
    """Nodes with one GPU each, but for those that are said to have none."""

    def __init__(self, *names: str, without_gpu: tuple[str, ...] = ()) -> None:
        self.nodes = {name: Node(f"host-{name}", (4.0, 0.0 if name in without_gpu else 1.0)) for name in names}
        self.said: list[str] = []
        self.avoided = Avoided(LIMIT, lambda: self.nodes, self.said.append)
        self.avoided.fits(lambda sizes: has_room(Shape(1, 1.0), list(sizes)))

    def lose(self, node: str, *units: str, why: str = "CUDA error") -> None:
        for unit in units:
            self.avoided.lost(node, unit, why)


def test_a_node_is_avoided_when_so_many_different_units_in_a_row_were_lost_there_and_that_is_said_once() -> None:
    cluster = Cluster("a", "b")
    cluster.lose("a", "u", "v")
    assert cluster.avoided.names == ()
    cluster.lose("a", "w", "x", "y")
    assert cluster.avoided.names == ("a",)
    (sentence,) = cluster.avoided.told
    assert sentence == "host-a (a): 3 units in a row were lost there, and none got anything done; the last that was seen: 'CUDA error'"
    assert cluster.said == [f"from now on this run avoids node {sentence}"]


def test_one_unit_that_takes_its_workers_down_is_not_the_nodes_fault() -> None:
    cluster = Cluster("a", "b")
    cluster.lose("a", *["poison"] * 100)
    assert (cluster.avoided.names, cluster.said) == ((), [])


def test_a_node_on_which_anything_gets_done_in_between_is_used() -> None:
    cluster = Cluster("a", "b")
    for unit in "uvwxyz":
        cluster.lose("a", unit)
        if unit in "vx":
            cluster.avoided.worked("a")
    assert cluster.avoided.names == ()
    cluster.lose("a", "last")
    assert cluster.avoided.names == ("a",)


@pytest.mark.parametrize(("nodes", "avoided_at_most"), [("ab", 1), ("abc", 1), ("abcd", 2), ("abcdefgh", 4)])
def test_when_units_are_lost_on_most_nodes_it_is_the_units_and_no_node_is_avoided(nodes: str, avoided_at_most: int) -> None:
    cluster, most = Cluster(*nodes), 0
    for _ in range(2):
        for node in nodes:
            cluster.lose(node, "u", "v", "w")
            most = max(most, len(cluster.avoided.names))
    assert most == avoided_at_most
    assert cluster.avoided.names == ()
    assert cluster.said[-1] == f"units are lost one after the other on {most + 1} of {len(nodes)} nodes: no node is avoided for that"
    assert len(cluster.said) == most + 1


def test_the_only_node_is_used_whatever_happens_there() -> None:
    cluster = Cluster("a")
    cluster.lose("a", *"uvwxyz")
    assert (cluster.avoided.names, cluster.said) == ((), [])
    cluster.nodes["b"] = Node("host-b", (4.0, 1.0))
    cluster.lose("a", "late")
    assert cluster.avoided.names == ("a",), "a cluster that has grown"


def test_the_only_node_that_has_room_is_used_and_that_is_said() -> None:
    cluster = Cluster("a", "b", without_gpu=("b",))
    cluster.lose("a", *"uvwxyz")
    assert cluster.avoided.names == ()
    (words,) = cluster.said
    assert words.startswith("no other node has room, so that this one is not avoided: host-a (a): 3 units in a row")


def test_losses_on_no_known_node_or_on_one_that_is_gone_avoid_nothing() -> None:
    cluster = Cluster("a", "b")
    cluster.lose("", *"uvwxyz")
    cluster.lose("gone", *"uvwxyz")
    assert (cluster.avoided.names, cluster.said) == ((), [])


def test_nodes_that_are_avoided_are_used_again_when_all_others_are_gone() -> None:
    cluster = Cluster("a", "b", "c", without_gpu=("c",))
    assert not cluster.avoided.stranded()
    cluster.lose("a", "u", "v", "w")
    assert not cluster.avoided.stranded()
    del cluster.nodes["b"]
    assert cluster.avoided.stranded()
    assert cluster.avoided.names == ()
    assert cluster.said[1:] == ["no other node that has room is left, so that the nodes which this run avoided are used again"]
    cluster.lose("a", "x", "y", "z")
    assert not cluster.avoided.stranded()


@pytest.mark.parametrize("runs_nothing", [True, False])
def test_a_tuner_whose_units_wait_for_nodes_that_are_gone_ends_when_nothing_runs(runs_nothing: bool) -> None:
    cluster, now, runs = Cluster("a", "b"), [0.0], [False]
    over = Over(Gate(), SimpleNamespace(runs_nothing=lambda: runs[0]), cluster.avoided, clock=lambda: now[0])
    cluster.lose("a", "u", "v", "w")
    del cluster.nodes["b"]
    assert not over()
    runs[0] = runs_nothing
    now[0] += CLOSED_S
    assert over() == over.stranded == runs_nothing


def test_a_tuner_that_was_told_to_end_waits_for_news_and_is_not_stranded() -> None:
    cluster, now, gate = Cluster("a"), [5.0], Gate()
    over = Over(gate, SimpleNamespace(runs_nothing=lambda: True), cluster.avoided, clock=lambda: now[0])
    assert not over()
    gate.cancel("asked")
    assert not over()
    now[0] += CLOSED_S
    assert over()
    assert not over.stranded


def test_a_placement_keeps_off_avoided_nodes_and_is_another_one_then() -> None:
    free, kept_off = ({"processes": 2, "gpu_share": 0.5, "avoided": names} for names in ([], ["b", "a"]))
    assert not_on(["b", "a"], 2) == [{"ray.io/node-id": "!in(a,b)"}] * 2
    assert _placement(free) == _placement(dict(free))
    assert _placement(kept_off) != _placement(free), "a kept worker would be given the unit wherever it is"


# --- what the driver makes of it ---


def unit(name: str) -> Unit:
    return Unit(name, "cell", (Graph().add(DataStage(source=DrawnFaces(identity="nobody"))),), frozenset())


class Driver:
    """A backend, and units that are lost on a node."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, processes: int = 1) -> None:
        nodes = {name: Node(f"host-{name}", (4.0, 0.0)) for name in ("bad", "good")}
        monkeypatch.setattr(backends, "nodes_of_ray", lambda: nodes)
        monkeypatch.setattr(backends, "node_lives", lambda node: node in nodes)
        monkeypatch.setattr("jobs.execute.losses.SETTLE_S", 0.0)
        monkeypatch.setenv("SOME_TOKEN", "hush-hush")
        self.gate, self.said = Gate(), list[str]()
        options = RunOptions("store", processes=processes)
        self.run: Any = SimpleNamespace(
            policy=RetryPolicy(), halved={}, tell=self.said.append, gate=self.gate, options=options, reach_store=lambda: None,
            give_up=lambda unit, verdict: Outcome(), note=lambda unit, outcome: None,
        )  # fmt: skip
        self.backend = RayBackend(cast("Running", self.run), cast("Scratch", None), ExitStack(), slots=1, gpus=0.0)
        self.reader = Reader()

    def lose(self, name: str, *, node: str = "bad", how: str = "died") -> None:
        place = Place(node, "host", 1, f"{name}", "")
        left = {
            "died": "",
            "not made": json.dumps(asdict(Outcome(broken=asdict(Verdict("unknown", "no driver")), node=node))),
            "input": json.dumps(asdict(Outcome(broken=asdict(Verdict("configuration", "a newer S2L")), node=node))),
            "told to leave": json.dumps(asdict(Outcome(preempted=True, node=node))),
        }[how]
        self.run.stands = lambda unit: frozenset([name])
        self.reader.hear(name, News(begun=(name, place), said={"k": (0.1, "CUDA error: hush-hush")}, last="k", left=left))
        self.backend._lost(unit(name), None, self.reader)


@pytest.mark.parametrize(("how", "avoided"), [("died", True), ("not made", True), ("input", False), ("told to leave", False)])
def test_what_says_something_of_the_node_counts(monkeypatch: pytest.MonkeyPatch, how: str, avoided: bool) -> None:
    driver = Driver(monkeypatch)
    for name in "uvw":
        driver.lose(name, how=how)
    assert (driver.backend._avoided.names == ("bad",)) == (len(driver.gate.avoided) == 1) == avoided
    assert "hush-hush" not in "".join(driver.gate.avoided)


def test_nodes_that_went_away_and_units_on_several_nodes_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch)
    for name in "uvw":
        driver.lose(name, node="gone")
    assert driver.gate.avoided == ()


def test_what_was_done_on_a_node_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch)
    for name in "uvwxyz":
        driver.lose(name)
        driver.backend._note(unit("done"), Outcome(ran=("key",), node="bad"))
    assert driver.gate.avoided == ()


# --- what is kept of it ---


def test_a_run_s_record_and_status_name_the_nodes_that_it_avoids_also_when_it_is_over(tmp_path: Path) -> None:
    store, gate = open_store(str(tmp_path)), Gate()
    own = Runs(store).begin("smoke", "k")
    watch = Watch(own, gate, LogTail(), lambda words: None)
    watch.tick()
    gate.avoided = ("n1 (abc): 3 units in a row were lost there",)
    watch.tick()
    assert told(shown(store, "smoke"))[-1] == f"  run {own.record.run} avoids node n1 (abc): 3 units in a row were lost there"
    own.end(0, None, "")
    (run,) = shown(store, "smoke")
    assert run["avoided"] == list(gate.avoided)
    assert told([run]) == [f"  run {own.record.run} avoided node n1 (abc): 3 units in a row were lost there"]
    assert RunRecord.model_validate_json('{"run": "r", "grid": "g", "grid_key": "k", "began": 1}').avoided == (), "an older run's"
