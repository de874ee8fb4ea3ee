"""The Searcher between Tune and the queue."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from ray.tune.search import Searcher

from jobs.errors import OutOfReach
from jobs.execute.limits import Gate
from jobs.execute.queue import Outcome, Queue
from jobs.execute.searcher import ReadySearcher
from jobs.execute.units import Unit
from jobs.graph import Graph
from jobs.stages.specs import DataStage, DrawnFaces


def test_a_store_out_of_reach_is_kept_for_the_driver_when_a_lost_unit_is_recorded() -> None:
    unit = Unit("u", "prepare", (Graph().add(DataStage(source=DrawnFaces(identity="nobody"))),), frozenset())

    def lost(_: Unit) -> Outcome:
        raise OutOfReach("the store is gone")

    searcher = ReadySearcher(Queue([unit]), lambda _: "{}", lambda *_: None, lost, max_lost=1)
    searcher.suggest("t")
    with pytest.raises(OutOfReach):
        searcher.on_trial_complete("t", error=True)
    assert isinstance(searcher.error, OutOfReach)


def units(count: int) -> list[Unit]:
    graph = Graph()
    nodes = [graph.add(DataStage(source=DrawnFaces(identity="nobody", seed=seed))) for seed in range(count)]
    return [Unit(f"u{seed}", "prepare", (node,), frozenset()) for seed, node in enumerate(nodes)]


class Tune:
    """A Searcher over three units, and what it is told."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.queue = Queue(units(3), self.gate)
        self.outcomes: list[str] = []
        self.lost: list[str] = []
        self.searcher = ReadySearcher(self.queue, lambda unit: unit.id, self._note, self._lost, max_lost=3)

    def _note(self, unit: Unit, outcome: Outcome) -> None:
        self.outcomes.append(unit.id)

    def _lost(self, unit: Unit) -> Outcome:
        self.lost.append(unit.id)
        return Outcome()

    def complete(self, trial: str, unit: str) -> None:
        keys = self.queue.running[unit].keys
        self.searcher.on_trial_complete(trial_id=trial, result={"outcome": json.dumps(asdict(Outcome(committed=tuple(keys))))})


def test_a_run_told_to_end_waits_for_what_runs_and_is_finished_when_nothing_does() -> None:
    tune = Tune()
    assert tune.searcher.suggest("a") == {"order": "u0"}
    assert tune.searcher.suggest("b") == {"order": "u1"}
    tune.gate.cancel("asked")
    assert tune.searcher.suggest("c") is None
    tune.complete("a", "u0")
    assert tune.searcher.suggest("c") is None
    tune.complete("b", "u1")
    assert tune.searcher.suggest("c") == Searcher.FINISHED
    assert tune.outcomes == ["u0", "u1"]
    assert [*tune.queue.waiting] == ["u2"]


def test_a_run_told_to_end_before_anything_began_is_finished_at_once() -> None:
    tune = Tune()
    tune.gate.cancel("asked")
    assert tune.searcher.suggest("a") == Searcher.FINISHED


def test_a_unit_whose_worker_was_told_not_to_begin_is_neither_lost_nor_done() -> None:
    tune = Tune()
    tune.searcher.suggest("a")
    for trial in ("a", "b", "c", "d"):
        tune.searcher.on_trial_complete(trial_id=trial, result={"put_off": True})
        tune.searcher.suggest({"a": "b", "b": "c", "c": "d"}.get(trial, "e"))
    assert tune.outcomes == tune.lost == []
    assert len(tune.queue.waiting) + len(tune.queue.running) == 3
