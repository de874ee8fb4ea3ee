"""What Tune's actor does when its worker cannot be made. Workers that were made are tested in processes of their own."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.execute.board import Place
from jobs.execute.order import WorkOrder
from jobs.execute.units import Unit
from jobs.plan.graph import Graph
from jobs.stages.specs import DataStage, DrawnFaces
from jobs.worker import trainable


class Board:
    """Notes what it is told, at once."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.is_open = SimpleNamespace(remote=lambda: True)
        self.begin = SimpleNamespace(remote=lambda run, unit, place: self.told.append(("begin", unit)))
        self.leave = SimpleNamespace(remote=lambda run, outcome: self.told.append(("leave", json.loads(outcome))))


def test_a_worker_that_cannot_be_made_tells_the_board_why_and_its_process_is_given_no_other_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver(settings: dict[str, Any]) -> None:
        raise RuntimeError("no driver of that name")

    board = Board()
    monkeypatch.setattr("jobs.worker.setup.make_worker", no_driver)
    monkeypatch.setattr("ray.get", lambda answer, timeout: answer)
    monkeypatch.setattr(trainable, "place_here", lambda stacks: Place("node", "host", 1, "{}", stacks))
    unit = Unit("u", "cell", (Graph().add(DataStage(source=DrawnFaces(identity="nobody"))),), frozenset())
    made = trainable.trainable_with({"board": board})
    actor = made.__new__(made)
    actor.setup({"order": WorkOrder.of(unit, {}).model_dump_json()})
    with pytest.raises(RuntimeError, match="no driver"):  # Tune ends an actor that raises
        actor.step()
    (begun, left) = board.told
    assert begun == ("begin", "u")
    assert left[0] == "leave"
    assert (left[1]["broken"]["error_class"], left[1]["broken"]["message"]) == ("unknown", "no driver of that name")
    assert "in no_driver" in left[1]["broken"]["trace"]
