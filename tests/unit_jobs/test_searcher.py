"""The Searcher between Tune and the queue."""

from __future__ import annotations

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
