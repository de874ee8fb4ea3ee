"""The Searcher between Tune and the queue."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from jobs.errors import OutOfReach
from jobs.execute.queue import Outcome, Queue
from jobs.execute.searcher import ReadySearcher
from jobs.execute.units import Unit
from jobs.graph import Graph
from jobs.stages.specs import DataStage, DrawnFaces


def test_a_store_out_of_reach_is_kept_for_the_driver_when_a_lost_unit_is_recorded() -> None:
    unit = Unit("u", "prepare", (Graph().add(DataStage(source=DrawnFaces(identity="nobody"))),), frozenset())

    def lost(_: Unit, outcome: Outcome | None) -> Outcome:
        raise OutOfReach("the store is gone")

    searcher = ReadySearcher(Queue([unit]), lambda _: "{}", lambda *_: None, lost)
    searcher.suggest("t")
    with pytest.raises(OutOfReach):
        searcher.on_trial_complete("t", error=True)
    assert isinstance(searcher.error, OutOfReach)


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
