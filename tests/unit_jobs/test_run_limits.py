"""What a run may use: GPUs at a time, a time to end, a budget. Clocks are given; nothing runs."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from jobs.errors import InputError
from jobs.execute.limits import GRACE_S, Gate, Limits, parse_until
from jobs.execute.queue import Outcome, Queue
from jobs.execute.units import Unit
from jobs.plan.graph import Graph, Node
from jobs.stages.specs import BlindStage, DataStage, DrawnFaces

HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def units(count: int) -> list[Unit]:
    """Units of one kind that wait for nothing."""
    graph = Graph()
    nodes = [graph.add(DataStage(source=DrawnFaces(identity="nobody", seed=seed))) for seed in range(count)]
    return [Unit(f"u{seed}", "prepare", (node,), frozenset()) for seed, node in enumerate(nodes)]


def other(seed: int) -> Unit:
    """A unit of another kind."""
    node: Node = Graph().add(BlindStage(seed=seed), [("data", units(1)[0].nodes[0])])
    return Unit(f"other{seed}", "prepare", (node,), frozenset())


def end(queue: Queue, unit: Unit, seconds: float = 0.0) -> None:
    queue.finish(unit.id, Outcome(committed=tuple(unit.keys), seconds=seconds))


def taken(queue: Queue) -> list[Unit]:
    """All that may start now."""
    found = []
    while (unit := queue.take()) is not None:
        found.append(unit)
    return found


# --- GPUs at a time ---


@pytest.mark.parametrize(("share", "most", "at_once"), [(1.0, 3.0, 3), (0.5, 1.0, 2), (0.1, 0.3, 3), (2.0, 5.0, 2), (1.0, 1.5, 1)])
def test_no_more_gpus_are_in_use_than_were_allowed(share: float, most: float, at_once: int) -> None:
    gate = Gate(Limits(max_gpus=most))
    gate.offer(gpus=share, slots=100)
    queue = Queue(units(10), gate)
    first = taken(queue)
    assert len(first) == at_once
    assert queue.refused
    end(queue, first[0])
    assert len(taken(queue)) == 1


def test_a_lost_units_gpu_is_free_again() -> None:
    gate = Gate(Limits(max_gpus=1.0))
    gate.offer(gpus=1.0, slots=4)
    queue = Queue(units(3), gate)
    (first,) = taken(queue)
    queue.give_back(first.id)
    assert len(taken(queue)) == 1


def test_fewer_gpus_than_one_trial_takes_are_refused_with_both_numbers() -> None:
    with pytest.raises(InputError, match=r"--max-gpus 0\.5: one trial takes 1 GPUs; give at least as many"):
        Gate(Limits(max_gpus=0.5)).offer(gpus=1.0)


def test_a_limit_on_gpus_is_refused_where_trials_take_none() -> None:
    with pytest.raises(InputError, match="trials take no GPU here; leave it out"):
        Gate(Limits(max_gpus=2.0)).offer(gpus=0.0)


# --- a time ---


def test_nothing_begins_after_the_time_and_what_runs_is_overdue_after_the_grace() -> None:
    wall = Clock()
    gate = Gate(Limits(until=100.0), wall=wall)
    queue = Queue(units(3), gate)
    wall.now = 99.9
    assert queue.take() is not None
    wall.now = 100.0
    assert queue.take() is None
    assert queue.refused
    assert gate.is_closed()
    assert not gate.is_overdue()
    wall.now = 100.0 + GRACE_S
    assert gate.is_overdue()
    assert gate.stopped(2, 1).why == "until"


NOW = datetime(2026, 11, 30, 22, 15)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("23:00", datetime(2026, 11, 30, 23, 0)),
        ("06:00", datetime(2026, 12, 1, 6, 0)),
        ("6:00", datetime(2026, 12, 1, 6, 0)),
        ("22:15", datetime(2026, 12, 1, 22, 15)),
        ("2026-12-24T18:30", datetime(2026, 12, 24, 18, 30)),
        ("2026-12-24 18:30:05", datetime(2026, 12, 24, 18, 30, 5)),
    ],
)
def test_a_time_of_day_is_the_next_one_and_a_date_is_itself(text: str, meant: datetime) -> None:
    assert parse_until(text, NOW) == meant.astimezone()


def test_a_zone_is_heeded() -> None:
    assert parse_until("2026-12-24T18:30:00+05:00", NOW).utcoffset() is not None
    assert parse_until("2026-12-24T18:30:00+05:00", NOW).timestamp() == datetime.fromisoformat("2026-12-24T13:30:00Z").timestamp()


@pytest.mark.parametrize("text", ["24:00", "6", "noon", "06:60", "2026-12-01", "2026-13-01T06:00", "", "06:00:00:00"])
def test_a_time_that_cannot_be_read_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match="give a time of day such as 06:00, or 2026-12-01T06:00"):
        parse_until(text, NOW)


def test_a_date_that_has_passed_is_refused() -> None:
    with pytest.raises(InputError, match="that time has passed"):
        parse_until((NOW - timedelta(minutes=1)).isoformat(), NOW)


# --- a budget ---


def test_the_next_unit_does_not_start_when_it_would_pass_the_budget() -> None:
    clock = Clock()
    gate = Gate(Limits(budget=2.5), clock=clock)
    gate.offer(gpus=1.0, slots=1)
    queue = Queue(units(5), gate)
    for _ in range(2):
        unit = queue.take()
        assert unit is not None
        clock.now += HOUR
        end(queue, unit, HOUR)
    assert queue.take() is None  # 2 hours used, the third would make 3
    assert queue.refused
    stop = gate.stopped(3, 3)
    assert stop.why == "budget"
    assert stop.words == "--budget 2.5: 2 GPU hours used, 0.5 left; the next data takes about 1"


def test_what_runs_counts_as_the_mean_of_its_kind() -> None:
    gate = Gate(Limits(budget=4.0), clock=Clock())
    gate.offer(gpus=1.0, slots=4)
    queue = Queue(units(9), gate)
    first = queue.take()
    assert first is not None
    end(queue, first, HOUR)
    assert len(taken(queue)) == 3  # one hour used, three promised


def test_a_share_of_a_gpu_uses_a_share_of_an_hour() -> None:
    gate = Gate(Limits(budget=1.0), clock=Clock())
    gate.offer(gpus=0.25, slots=1)
    queue = Queue(units(9), gate)
    done = 0
    while (unit := queue.take()) is not None:
        end(queue, unit, HOUR)
        done += 1
    assert done == 4


def test_where_there_is_no_gpu_worker_hours_count() -> None:
    gate = Gate(Limits(budget=2.0), clock=Clock())
    gate.offer(gpus=0.0, slots=1)
    queue = Queue(units(3), gate)
    while (unit := queue.take()) is not None:
        end(queue, unit, HOUR)
    assert "2 worker hours used" in gate.stopped(1, 1).words


@pytest.mark.parametrize("begun", [True, False])
def test_a_lost_unit_has_used_what_passed_since_it_was_handed_out_and_nothing_if_it_never_began(begun: bool) -> None:
    clock = Clock()
    gate = Gate(Limits(budget=1.0), clock=clock)
    gate.offer(gpus=1.0, slots=1)
    queue = Queue(units(1), gate)
    unit = queue.take()
    assert unit is not None
    clock.now = 2 * HOUR
    queue.give_back(unit.id, begun=begun)
    assert (queue.take() is None) == begun


def test_with_a_budget_no_more_is_handed_out_than_can_run() -> None:
    gate = Gate(Limits(budget=100.0), clock=Clock())
    gate.offer(gpus=1.0, slots=3)
    assert len(taken(Queue(units(9), gate))) == 3


def test_kinds_are_estimated_apart() -> None:
    clock = Clock()
    gate = Gate(Limits(budget=3.0), clock=clock)
    gate.offer(gpus=1.0, slots=2)
    (long,) = units(1)
    queue = Queue([long, other(0), other(1)], gate)
    unit = queue.take()
    assert unit == long
    end(queue, unit, 2.5 * HOUR)
    small = queue.take()  # nothing is known of its kind, and half an hour is left
    assert small is not None
    end(queue, small, 0.4 * HOUR)
    assert queue.take() is None


# --- being told to end ---


def test_a_cancelled_gate_lets_nothing_start_and_says_who_asked() -> None:
    gate = Gate()
    queue = Queue(units(3), gate)
    running = queue.take()
    assert running is not None
    gate.cancel("cancelled by s2l cancel")
    gate.cancel("too late to count")
    assert queue.take() is None
    assert queue.refused
    end(queue, running)
    assert queue.take() is None
    assert gate.stopped(2, 1).words == "cancelled by s2l cancel"


def test_a_run_without_limits_is_never_kept_back() -> None:
    queue = Queue(units(50))
    assert len(taken(queue)) == 50
    assert not queue.refused
