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
from jobs.plan.graph import Graph
from jobs.stages.specs import DataStage, DrawnFaces


@pytest.mark.parametrize("how", ["lost", "told"])
def test_what_goes_wrong_in_the_driver_is_kept_for_it_and_ends_the_handing_out(how: str) -> None:
    """Tune logs what is raised at the end of a trial that gave a result, goes on, and waits for a unit that it has ended."""
    unit = Unit("u", "prepare", (Graph().add(DataStage(source=DrawnFaces(identity="nobody"))),), frozenset())

    def lost(_: Unit, outcome: Outcome | None) -> Outcome:
        raise OutOfReach("the store is gone")

    def noted(*_: object) -> None:
        raise OutOfReach("the store is gone")

    searcher = ReadySearcher(Queue([unit]), lambda _: "{}", noted, lost)
    searcher.suggest("t")
    result = {"outcome": json.dumps(asdict(Outcome(committed=tuple(unit.keys))))}
    searcher.on_trial_complete("t", error=True) if how == "lost" else searcher.on_trial_complete("t", result)
    assert isinstance(searcher.error, OutOfReach)
    assert searcher.suggest("u") == Searcher.FINISHED


class Told:
    """A searcher over one unit, and what became of it."""

    def __init__(self, answers: list[Outcome | None]) -> None:
        self.unit = Unit("u", "prepare", (Graph().add(DataStage(source=DrawnFaces(identity="nobody"))),), frozenset())
        self.queue = Queue([self.unit])
        self.asked: list[Outcome | None] = []
        self.noted: list[Outcome] = []
        self.searcher = ReadySearcher(self.queue, lambda _: "{}", lambda _, outcome: self.noted.append(outcome), self.lost)
        self._answers = answers

    def lost(self, unit: Unit, outcome: Outcome | None) -> Outcome | None:
        self.asked.append(outcome)
        return self._answers.pop(0)

    def end(self, trial: str, outcome: Outcome | None) -> None:
        assert self.searcher.suggest(trial) == {"order": "{}"}
        result = None if outcome is None else {"outcome": json.dumps(asdict(outcome))}
        self.searcher.on_trial_complete(trial, result, error=outcome is None)


def test_a_unit_whose_worker_is_gone_begins_again_until_it_is_given_up() -> None:
    given_up = Outcome(failed={"k": ("preempted", "died")})
    told = Told([None, None, given_up])
    for trial in "abc":
        told.end(trial, None)
    assert told.asked == [None] * 3
    assert told.noted == [given_up]
    assert told.searcher.suggest("d") == "FINISHED"


def test_what_a_worker_that_left_had_done_is_noted_and_its_unit_begins_again() -> None:
    left = Outcome(committed=("k",), ran=("k",), preempted=True)
    told = Told([left])
    told.end("a", None)
    assert told.noted == [left]
    told.end("b", Outcome(committed=("k",)))
    assert told.queue.finished["u"].committed == ["k"]


def test_an_outcome_that_did_not_reach_the_store_is_asked_about() -> None:
    told = Told([None])
    told.end("a", Outcome(unreached="the store is gone"))
    assert told.asked[0] is not None
    assert told.asked[0].unreached == "the store is gone"
    assert told.noted == []
    assert told.searcher.suggest("b") == {"order": "{}"}


@pytest.mark.parametrize("outcome", [Outcome(broken={"error_class": "unknown", "message": "no driver"}), Outcome(wrong="no key is set")])
def test_what_a_worker_could_not_do_is_not_finished_before_the_driver_has_judged_it(outcome: Outcome) -> None:
    given_up = Outcome(failed={"k": ("unknown", "no driver")})
    told = Told([given_up])
    told.end("a", outcome)
    assert [asked.is_open for asked in told.asked if asked is not None] == [True]
    assert told.noted == [given_up]


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
        self.searcher = ReadySearcher(self.queue, lambda unit: unit.id, self._note, self._lost)

    def _note(self, unit: Unit, outcome: Outcome) -> None:
        self.outcomes.append(unit.id)

    def _lost(self, unit: Unit, outcome: Outcome | None) -> Outcome:
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
