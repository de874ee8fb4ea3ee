"""One unit on one worker: commits, adoption, retries, corrupt parents, leases. The ledger is real; the stages are stand-ins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from jobs.execute import stage_runner
from jobs.execute.order import WorkOrder
from jobs.execute.queue import Outcome
from jobs.execute.stage_runner import Worker, run_order
from jobs.execute.units import Unit
from jobs.execute.warm import Scratch
from jobs.graph import Graph, Node
from jobs.ledger.leases import LeaseKeeper
from jobs.ledger.ledger import Ledger
from jobs.plan import Trial
from jobs.stages.contract import StageJob
from jobs.stages.specs import BaseStage, BlindStage, ChoiceStage, DataStage, DrawnFaces, PackagedModel, ScoreStage, ShakeStage
from jobs.states import trial_state
from jobs.store.open import open_store
from s2l_core.specs.adapters import DenseAdapter
from s2l_core.specs.attacks import ChosenAttack, LossAttack, PIAAttack
from s2l_core.specs.objectives import DenoiseObjective
from s2l_core.specs.training import TrainSpec

Run = Callable[[StageJob], None]


class Stages:
    """Stand-ins for stage files, by kind; counts how often each was computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.jobs: list[tuple[str, StageJob]] = []

    def set(self, kind: str, run: Run) -> None:
        module = ModuleType(f"jobs.stages.{kind}")

        def counted(job: StageJob) -> None:
            self.jobs.append((kind, job))
            run(job)

        module.run = counted  # type: ignore[attr-defined]
        self._patch.setitem(sys.modules, module.__name__, module)

    def count(self, kind: str) -> int:
        return sum(name == kind for name, _ in self.jobs)


def leave(text: str) -> Run:
    return lambda job: (job.out / "out.txt").write_text(text) and None


def fail(error: BaseException, times: int = 10**6) -> Run:
    left = [times]

    def run(job: StageJob) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        (job.out / "out.txt").write_text("at last")

    return run


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    monkeypatch.setattr(stage_runner, "BACKOFF_S", 0.0)
    found = Stages(monkeypatch)
    found.set("data", leave("images"))
    found.set("blind", leave("blind"))
    found.set("shake", leave("weights"))
    return found


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    ledger = Ledger(open_store(str(tmp_path / "store")), notice=lambda _: None)
    keeper = LeaseKeeper(ledger.leases)
    yield Worker(ledger=ledger, scratch=Scratch(tmp_path / "scratch"), leases=keeper, host="here")
    keeper.close()


def two_stages() -> tuple[Node, Node]:
    graph = Graph()
    data = graph.add(DataStage(source=DrawnFaces(identity="nobody")))
    return data, graph.add(BlindStage(), [("data", data)])


def a_shake() -> Node:
    training = TrainSpec(batch_size=8)
    return Graph().add(ShakeStage(adapters=(DenseAdapter(),), objective=DenoiseObjective(), training=training, name="nobody"))


def run(worker: Worker, *nodes: Node) -> Outcome:
    inside = {node.key for node in nodes}
    needs = frozenset(parent.key for node in nodes for _, parent in node.parents if parent.key not in inside)
    return run_order(WorkOrder.of(Unit("u", "prepare", nodes, needs), {}), worker, lambda *_: None)


def test_stages_are_computed_in_order_and_each_is_committed(worker: Worker, stages: Stages) -> None:
    data, blind = two_stages()
    outcome = run(worker, data, blind)
    assert outcome.ran == outcome.committed == (data.key, blind.key)
    manifest = worker.ledger.manifest("blind", blind.key)
    assert manifest is not None
    assert worker.ledger.read(manifest, "out.txt") == b"blind"
    made = worker.ledger.manifest("data", data.key)
    assert made is not None
    assert [(parent.role, parent.key, parent.digest) for parent in manifest.parents] == [("data", data.key, made.digest)]
    assert manifest.made["host"] == "here"
    assert manifest.made["seconds"] >= 0


def test_what_is_committed_is_adopted_and_not_computed_again(worker: Worker, stages: Stages) -> None:
    data, blind = two_stages()
    run(worker, data)
    outcome = run(worker, data, blind)
    assert outcome.ran == (blind.key,)
    assert set(outcome.committed) == {data.key, blind.key}
    assert stages.count("data") == 1


def test_a_stage_gets_the_verified_folders_of_its_parents(worker: Worker, stages: Stages) -> None:
    data, blind = two_stages()
    seen: list[str] = []
    stages.set("blind", lambda job: seen.append((job.folder("data") / "out.txt").read_text()) or ((job.out / "o").write_text("x") and None))
    run(worker, data, blind)
    assert seen == ["images"]


def test_a_configuration_error_is_recorded_once_and_its_children_are_not_tried(worker: Worker, stages: Stages) -> None:
    data, blind = two_stages()
    stages.set("data", fail(ValueError("rank 9 is larger than the layer")))
    outcome = run(worker, data, blind)
    assert outcome.failed == {data.key: ("configuration", "rank 9 is larger than the layer")}
    assert outcome.committed == ()
    assert (stages.count("data"), stages.count("blind")) == (1, 0)
    (failure,) = worker.ledger.failures()
    assert (failure.kind, failure.key, failure.attempt, failure.error_class) == ("data", data.key, 1, "configuration")
    assert failure.host == "here"
    assert "ValueError: rank 9" in failure.traceback


@pytest.mark.parametrize(
    ("error", "error_class", "tries"),
    [
        (ConnectionResetError("reset"), "transient", 4),
        (MemoryError("no memory"), "oom", 4),
        (RuntimeError("boom"), "unknown", 1),
        (FloatingPointError("NaN"), "numerical", 2),
    ],
)
def test_each_class_of_failure_is_tried_as_often_as_its_policy_says(
    worker: Worker, stages: Stages, error: Exception, error_class: str, tries: int
) -> None:
    data, _ = two_stages()
    stages.set("data", fail(error))
    outcome = run(worker, data)
    assert outcome.failed[data.key][0] == error_class
    assert stages.count("data") == tries


def test_a_passing_fault_leaves_no_failure_record(worker: Worker, stages: Stages) -> None:
    data, _ = two_stages()
    stages.set("data", fail(TimeoutError("slow"), times=2))
    assert run(worker, data).ran == (data.key,)
    assert worker.ledger.failures() == []


def test_out_of_memory_halves_the_micro_batch_and_the_manifest_says_so(worker: Worker, stages: Stages) -> None:
    shake = a_shake()
    stages.set("shake", fail(MemoryError("too large"), times=2))
    assert run(worker, shake).ran == (shake.key,)
    assert [job.micro_batch for _, job in stages.jobs] == [None, 4, 2]
    manifest = worker.ledger.manifest("shake", shake.key)
    assert manifest is not None
    assert manifest.made["micro_batch"] == 2


def test_after_a_success_earlier_failures_are_history(worker: Worker, stages: Stages) -> None:
    data, blind = two_stages()
    trial = Trial(key="t", axes={}, metrics={}, shake=None, blind=data)
    stages.set("data", fail(RuntimeError("boom"), times=1))
    run(worker, data)
    (failure,) = worker.ledger.failures()
    assert trial_state(trial, set(), {failure.key: failure}).state == "blocked"
    run(worker, data)
    assert trial_state(trial, worker.ledger.committed("data"), {failure.key: failure}).state == "done"
    assert blind.key not in worker.ledger.committed("blind")


def test_a_corrupt_parent_is_asked_for_again_and_is_no_failure(worker: Worker, stages: Stages, tmp_path: Path) -> None:
    data, blind = two_stages()
    run(worker, data)
    (blob,) = (path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file())
    blob.write_bytes(b"imagex")
    fresh = Worker(ledger=worker.ledger, scratch=Scratch(tmp_path / "other"), leases=worker.leases)
    outcome = run(fresh, blind)
    assert outcome.redo == (data.key,)
    assert outcome.failed == {}
    assert worker.ledger.manifest("data", data.key) is None
    again = run(fresh, data, blind)
    assert again.ran == (data.key, blind.key)


def test_a_stage_that_another_driver_holds_is_busy_and_not_computed(worker: Worker, stages: Stages) -> None:
    data, _ = two_stages()
    held = worker.ledger.leases.take(data.key)
    assert held is not None
    outcome = run(worker, data)
    assert outcome.busy == (data.key,)
    assert stages.count("data") == 0


def test_scratch_is_left_empty_but_for_parents(worker: Worker, stages: Stages) -> None:
    data, blind = two_stages()
    stages.set("blind", fail(RuntimeError("boom")))
    run(worker, data, blind)
    assert sorted(path.name for path in worker.scratch.root.iterdir()) == ["in-use", "parents"]


def test_an_attack_that_was_chosen_is_run_together_with_the_others_on_the_same_images(
    worker: Worker, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph()
    data, base = (
        graph.add(DataStage(source=DrawnFaces(identity="nobody"))),
        graph.add(BaseStage(source=PackagedModel(name="tiny", content="0" * 64))),
    )
    choice = graph.add(ChoiceStage(candidates=(LossAttack(), PIAAttack())), [("score", graph.add(BlindStage(), [("data", data)]))])
    images = (("base", base), ("data", data))
    chosen = graph.add(ScoreStage(attack=ChosenAttack()), [*images, ("choice", choice)])
    plain = graph.add(ScoreStage(attack=PIAAttack()), images)
    for kind in ("base", "choice", "score"):
        stages.set(kind, leave(kind))
    together: list[list[str]] = []

    def fused(jobs: Sequence[StageJob]) -> None:
        together.append([job.key for job in jobs])
        for job in jobs:
            leave("score")(job)

    monkeypatch.setattr(sys.modules["jobs.stages.score"], "run_fused", fused, raising=False)
    run(worker, data, base, choice.parents[0][1], choice)
    outcome = run(worker, plain, chosen)
    assert outcome.failed == {}
    assert together == [[plain.key, chosen.key]]


def test_of_scores_made_together_one_that_cannot_work_takes_none_with_it(
    worker: Worker, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph()
    data, base = (
        graph.add(DataStage(source=DrawnFaces(identity="nobody"))),
        graph.add(BaseStage(source=PackagedModel(name="tiny", content="0" * 64))),
    )
    good, bad = (graph.add(ScoreStage(attack=attack), [("base", base), ("data", data)]) for attack in (LossAttack(), PIAAttack()))
    stages.set("base", leave("model"))

    def score(job: StageJob) -> None:
        if job.key == bad.key:
            raise ValueError("no such timestep")
        leave("scores")(job)

    stages.set("score", score)

    def fused(jobs: Sequence[StageJob]) -> None:
        for job in jobs:
            score(job)

    monkeypatch.setattr(sys.modules["jobs.stages.score"], "run_fused", fused, raising=False)
    outcome = run(worker, data, base, good, bad)
    assert set(outcome.ran) == {data.key, base.key, good.key}
    assert outcome.failed == {bad.key: ("configuration", "no such timestep")}
    assert [failure.key for failure in worker.ledger.failures()] == [bad.key]
