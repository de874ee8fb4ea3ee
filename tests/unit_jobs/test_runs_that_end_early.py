"""Runs in this process that are told to end, and go on another time: what is left is told, nothing is done twice. Stages do nothing."""

from __future__ import annotations

import importlib
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.execute import ongoing as ongoing_module
from jobs.execute import run as run_module
from jobs.execute.backends import RayBackend
from jobs.execute.inputs import commit_inputs
from jobs.execute.limits import Gate, Limits
from jobs.execute.options import RunOptions
from jobs.execute.progress import Silent
from jobs.execute.result import RunResult
from jobs.execute.run import run_plan
from jobs.grid.read import parse_grid
from jobs.grid.recorded import InputsRecord, RecordedInputs, RecordingInputs
from jobs.ledger.ledger import Ledger
from jobs.plan.expand import expand
from jobs.plan.plan import Plan
from jobs.runs.order import RunOrder, portable
from jobs.stages.contract import StageJob
from jobs.store.open import open_store
from s2l_core import faces
from tests.planted_folders import write_folder

STAGES = "tests.benchmarks.noop_stages"
GRID = """\
name: nothing
fixed: {attacks: [loss, pia], alpha: rank}
axes:
  domain: [zorvik, mellune]
  method: [none, lora]
"""


class World:
    """A grid, an empty store, and how often each stage was computed."""

    def __init__(self, folder: Path, text: str = GRID) -> None:
        self.plan: Plan = expand(parse_grid(text, "nothing.yaml"))
        self.ledger = Ledger(open_store(str(folder / "store")), notice=lambda _: None)
        self.options = RunOptions(self.ledger.store.url, local=True, stages=STAGES)
        self.computed: Counter[str] = Counter()

    def run(self, gate: Gate | None = None, limits: Limits | None = None) -> RunResult:
        options = replace(self.options, limits=limits or Limits())
        result = run_plan(self.plan, self.ledger, options, Silent(), lambda trial, state: None, gate)
        self.computed.update(result.ran)
        return result


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return World(tmp_path)


def test_a_run_that_is_cancelled_ends_its_unit_tells_what_is_left_and_goes_on_another_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()

    def cancelled(job: StageJob) -> None:
        gate.cancel("cancelled by s2l cancel")
        (job.out / "out.json").write_text("{}")

    with monkeypatch.context() as patch:
        patch.setattr(importlib.import_module(f"{STAGES}.sp"), "run", cancelled)
        first = world.run(gate)
    total = len(world.plan.nodes())
    assert first.stopped is not None
    assert (first.stopped.why, first.stopped.words) == ("cancelled", "cancelled by s2l cancel")
    assert 0 < len(first.ran) < total
    assert first.stopped.stages == total - len(first.ran)
    assert first.stopped.trials == sum(state.state == "missing" for state in first.states.values()) > 0
    assert first.failed == {}
    second = world.run()
    assert (second.stopped, second.counts()) == (None, {"done": 4, "failed": 0, "blocked": 0})
    assert set(world.computed.values()) == {1}
    assert len(world.computed) == total
    assert world.ledger.leases.held() == {}


def test_a_run_that_is_cancelled_when_all_is_done_was_not_stopped(world: World) -> None:
    world.run()
    gate = Gate()
    gate.cancel("too late")
    assert world.run(gate).stopped is None


def test_a_budget_stops_a_run_early_and_says_what_is_used_and_left(world: World) -> None:
    result = world.run(limits=Limits(budget=1e-9))
    assert result.stopped is not None
    assert result.stopped.why == "budget"
    assert "worker hours used, 0 left" in result.stopped.words
    assert result.stopped.stages == len(world.plan.nodes()) - len(result.ran) > 0
    assert world.run(limits=Limits(budget=1000.0)).stopped is None
    assert set(world.computed.values()) == {1}


def test_a_time_that_has_come_begins_nothing(world: World) -> None:
    result = world.run(limits=Limits(until=0.0))
    assert (result.ran, result.counts()) == (set(), {"done": 0, "failed": 0, "blocked": 0})
    assert result.stopped is not None
    assert result.stopped.trials == 4


def test_a_run_that_waits_for_another_driver_ends_when_it_is_told_to(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    lease = world.ledger.leases.take(next(node.key for node in world.plan.nodes() if node.kind == "base"))
    assert lease is not None
    monkeypatch.setattr(run_module.time, "sleep", lambda seconds: gate.cancel("cancelled"))
    result = world.run(gate)
    assert result.stopped is not None
    assert result.stopped.stages > 0


def test_a_limit_on_gpus_that_could_never_hold_is_refused_before_anything_starts(world: World, tmp_path: Path) -> None:
    from contextlib import ExitStack

    from jobs.execute.queue import Queue

    options = replace(world.options, local=False, gpu_share=1.0, limits=Limits(max_gpus=0.5))
    run = ongoing_module.Ongoing(world.plan, world.ledger, options, Silent(), lambda *_: None)
    with pytest.raises(InputError, match=r"--max-gpus 0\.5: one trial takes 1 GPUs"):
        RayBackend(run, Path("unused"), ExitStack(), slots=2, gpus=2.0).run(Queue([], run.gate))
    with pytest.raises(InputError, match="trials take no GPU here"):
        world.run(limits=Limits(max_gpus=2.0))


# --- what a detached run needs of the laptop ---


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", faces.records("zorvik", seed=0, members=4, non_members=4))


@pytest.fixture
def own_data(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    text = GRID.replace("alpha: rank", f"alpha: rank, data: {pictures}").replace("[zorvik, mellune]", "[zorvik]")
    return World(tmp_path, text)


def order_of(world: World, record: InputsRecord) -> RunOrder:
    return RunOrder(
        grid_key=world.plan.grid_key, document=world.plan.document, inputs=record, shown="g.yaml", options=portable(world.options)
    )


def test_what_only_the_laptop_can_read_is_committed_and_the_rest_runs_without_it(own_data: World, pictures: Path) -> None:
    recording = RecordingInputs()
    plan = expand(parse_grid(GRID.replace("alpha: rank", f"alpha: rank, data: {pictures}").replace(", mellune", ""), "g"), inputs=recording)
    assert plan.grid_key == own_data.plan.grid_key
    commit_inputs(plan, own_data.ledger, own_data.options, Silent())
    done = {kind: len(own_data.ledger.committed(kind)) for kind in ("data", "blind", "shake", "base")}
    assert done == {"data": 1, "blind": 1, "shake": 0, "base": 0}
    shutil.rmtree(pictures)
    order = RunOrder.model_validate_json(order_of(own_data, recording.record).model_dump_json())
    there = order.plan()
    assert [node.key for node in there.nodes()] == [node.key for node in plan.nodes()]
    assert there.inputs == {}
    own_data.plan = there
    assert own_data.run().counts() == {"done": 2, "failed": 0, "blocked": 0}


def test_a_laptops_folder_that_cannot_be_read_is_refused_before_anything_is_submitted(
    own_data: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(job: StageJob) -> None:
        raise InputError("the images changed since the grid was planned")

    monkeypatch.setattr(importlib.import_module(f"{STAGES}.data"), "run", broken)
    with pytest.raises(InputError, match="nothing was submitted: the images changed since"):
        commit_inputs(own_data.plan, own_data.ledger, own_data.options, Silent())


def test_an_order_holds_no_folder_hash_of_an_image_and_no_place_of_the_laptops(own_data: World) -> None:
    recording = RecordingInputs()
    found = recording.domain(str(own_data.plan.document["fixed"]["data"]), "zorvik")
    assert found.files
    written = order_of(own_data, recording.record).model_dump_json()
    assert not [name for name in found.files if name in written]
    assert not set(portable(own_data.options)) & {"store", "workers", "local", "address"}


def test_options_go_along_but_for_what_the_place_decides(world: World) -> None:
    options = replace(world.options, gpu_share=0.5, keep="small", limits=Limits(max_gpus=2.0, until=1e12, budget=3.0))
    order = RunOrder(grid_key="", document={}, inputs=InputsRecord(), shown="g", options=portable(options))
    there = RunOrder.model_validate_json(order.model_dump_json()).run_options("s3://bucket", "head:6379")
    assert there == replace(options, store="s3://bucket", address="head:6379", local=False)


def test_a_cluster_that_plans_differently_refuses_the_order(world: World) -> None:
    order = RunOrder(grid_key="0" * 64, document=world.plan.document, inputs=InputsRecord(), shown="g")
    with pytest.raises(InputError, match="was not looked up when this run was submitted"):
        RecordedInputs(order.inputs).domains("tiny-faces")
    recording = RecordingInputs()
    expand(parse_grid(GRID, "g"), inputs=recording)
    with pytest.raises(InputError, match="install the same version of s2l on the cluster"):
        order.model_copy(update={"inputs": recording.record}).plan()
