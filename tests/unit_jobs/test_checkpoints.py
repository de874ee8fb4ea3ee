"""When a stage that can resume keeps a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import Preempted
from jobs.stages.checkpoints import SHARE, Checkpoints
from jobs.stages.contract import StageJob
from jobs.stages.specs import BlindStage
from jobs.worker.warm import Warm


class World:
    """A clock that is set by hand, and a store that takes its time."""

    def __init__(self, every_s: float) -> None:
        self.now = 1000.0
        self.write_s = 0.0
        self.saved = 0
        self.leaving = False
        self.checkpoints = Checkpoints(self.job(every_s), clock=lambda: self.now)

    def job(self, every_s: float) -> StageJob:
        more: dict[str, Any] = {"progress": self, "cache": Warm(), "device": "cpu", "say": lambda fraction, words: None}
        return StageJob(BlindStage(), "key", (), Path(), **more, checkpoint_every_s=every_s, leaving=lambda: self.leaving)

    def load(self, into: Path) -> bool:
        return False

    def save(self, folder: Path) -> None:
        self.now += self.write_s
        self.saved += 1


def test_a_checkpoint_is_due_when_that_much_time_has_passed_and_not_before() -> None:
    world = World(60.0)
    world.now += 59.9
    assert not world.checkpoints.due()
    world.now += 0.1
    assert world.checkpoints.due()
    world.checkpoints.save(Path())
    assert not world.checkpoints.due()
    world.now += 60.0
    assert world.checkpoints.due()


def test_one_that_takes_long_to_write_is_written_less_often() -> None:
    world = World(60.0)
    world.now += 60.0
    world.write_s = 30.0
    assert world.checkpoints.due()
    world.checkpoints.save(Path())
    world.now += 30.0 / SHARE - 1.0
    assert not world.checkpoints.due()
    world.now += 1.0
    assert world.checkpoints.due()


def test_one_is_due_at_once_when_the_machine_is_taken_away_and_the_work_stops_when_it_is_kept() -> None:
    world = World(1000.0)
    assert not world.checkpoints.due()
    world.leaving = True
    assert world.checkpoints.due()
    with pytest.raises(Preempted):
        world.checkpoints.save(Path())
    assert world.saved == 1


class Kept:
    """A store of one checkpoint."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] | None = None

    def load(self, into: Path) -> bool:
        for name, content in (self.files or {}).items():
            (into / name).write_bytes(content)
        return self.files is not None

    def save(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("first", "then", "told"), [(None, None, None), (2, None, 2), (2, 1, 1), (1, 2, 1), (None, 4, None)])
def test_whoever_resumes_tells_in_which_pieces_what_came_before_was_computed(
    tmp_path: Path, first: int | None, then: int | None, told: int | None
) -> None:
    kept = Kept()
    jobs = []
    for number, pieces in enumerate((first, then, then)):
        more: dict[str, Any] = {"progress": kept, "cache": Warm(), "device": "cpu", "say": lambda fraction, words: None}
        jobs.append(StageJob(BlindStage(), "key", (), tmp_path, **more, micro_batch=pieces))
        folder = tmp_path / str(number)
        folder.mkdir()
        checkpoints = Checkpoints(jobs[-1])
        assert checkpoints.load(folder) == (number > 0)
        (folder / "state").write_text("state")
        checkpoints.save(folder)
    assert jobs[1].made.get("micro_batch") == told
    assert jobs[2].made.get("micro_batch") == (told or then)
