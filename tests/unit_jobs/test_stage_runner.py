"""One unit on one worker: commits, adoption, retries, corrupt parents, leases. The ledger is real; the stages are stand-ins."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch

from jobs.errors import InputError, OutOfReach
from jobs.execute.order import WorkOrder
from jobs.execute.queue import Outcome
from jobs.execute.units import Unit
from jobs.ledger.leases import Lease, LeaseKeeper
from jobs.ledger.ledger import Ledger
from jobs.ledger.patient import patient
from jobs.plan.graph import Graph, Node
from jobs.plan.plan import Trial
from jobs.policy import RetryPolicy, Transient
from jobs.stages.contract import StageJob
from jobs.stages.specs import BaseStage, BlindStage, ChoiceStage, DataStage, DrawnFaces, PackagedModel, ScoreStage, ShakeStage
from jobs.states import trial_state
from jobs.store.open import open_store
from jobs.worker.failures import WorkerOver, not_made
from jobs.worker.stage_runner import Worker, run_order
from jobs.worker.warm import Scratch
from s2l_core.specs.adapters import DenseAdapter
from s2l_core.specs.attacks import ChosenAttack, LossAttack, PIAAttack
from s2l_core.specs.objectives import DenoiseObjective
from s2l_core.specs.training import TrainSpec
from tests.failing_store import FailingStore

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
    found = Stages(monkeypatch)
    found.set("data", leave("images"))
    found.set("blind", leave("blind"))
    found.set("shake", leave("weights"))
    return found


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    ledger = Ledger(open_store(str(tmp_path / "store")), notice=lambda _: None)
    keeper = LeaseKeeper(ledger.leases)
    policy = RetryPolicy(transient=Transient(tries=4, wait_s=0.0))
    yield Worker(ledger=ledger, scratch=Scratch(tmp_path / "scratch"), leases=keeper, host="here", policy=policy)
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


def test_out_of_memory_halves_the_micro_batch_and_run_and_manifest_say_so(worker: Worker, stages: Stages) -> None:
    shake = a_shake()
    stages.set("shake", fail(MemoryError("too large"), times=2))
    outcome = run(worker, shake)
    assert outcome.ran == (shake.key,)
    assert [note.partition(": ")[2] for note in outcome.notes] == [f"oom: too large; trying again in pieces of {size}" for size in (4, 2)]
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


# --- faults of a GPU ---

FAULT = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported at some other API call"


def test_a_fault_of_the_gpu_ends_the_process_and_is_the_last_that_is_heard_of_it(worker: Worker, stages: Stages) -> None:
    worker.own_process = True
    data, blind = two_stages()
    stages.set("blind", fail(torch.AcceleratorError(FAULT)))
    said: list[str] = []
    order = WorkOrder.of(Unit("u", "prepare", (data, blind), frozenset()), {})
    with pytest.raises(WorkerOver, match="illegal memory access"):
        run_order(order, worker, lambda key, fraction, words: said.append(words))
    assert said[-1].startswith("CUDA error: an illegal memory access was encountered; starting again")
    assert (worker.ledger.failures(), worker.ledger.leases.held()) == ([], {})
    assert worker.ledger.committed("data") == {data.key}


def test_a_fault_of_the_gpu_outside_of_the_stages_ends_the_process_too(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.own_process = True
    data, _ = two_stages()
    monkeypatch.setattr(worker.leases, "take", lambda key: (_ for _ in ()).throw(torch.AcceleratorError(FAULT)))
    said: list[str] = []
    with pytest.raises(WorkerOver):
        run_order(WorkOrder.of(Unit("u", "prepare", (data,), frozenset()), {}), worker, lambda key, fraction, words: said.append(words))
    assert said == ["CUDA error: an illegal memory access was encountered; starting again in another process"]


def test_a_fault_of_the_gpu_in_the_drivers_own_process_is_a_failure_of_the_stage(worker: Worker, stages: Stages) -> None:
    data, _ = two_stages()
    stages.set("data", fail(torch.AcceleratorError(FAULT)))
    assert run(worker, data).failed == {data.key: ("unknown", FAULT.splitlines()[0])}


# --- errors outside of the stages ---


def test_an_error_outside_of_the_stages_is_told_with_its_class_and_what_was_done_before_it(
    worker: Worker, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.own_process = True
    monkeypatch.setenv("HF_TOKEN", "planted-secret")
    data, blind = two_stages()

    def take(key: str) -> Lease | None:
        if key == blind.key:
            raise InputError("written by a newer S2L, said planted-secret")
        return lease_of(key)

    lease_of = worker.leases.take
    monkeypatch.setattr(worker.leases, "take", take)
    outcome = run(worker, data, blind)
    assert (outcome.ran, outcome.failed) == ((data.key,), {})
    assert (outcome.broken["error_class"], outcome.broken["stage"]) == ("configuration", blind.key)
    assert outcome.broken["message"] == "written by a newer S2L, said ***"
    assert "InputError: written by a newer S2L, said ***" in outcome.broken["trace"]
    assert outcome.is_open


def test_an_error_outside_of_the_stages_ends_a_run_in_the_drivers_own_process(
    worker: Worker, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.leases, "take", lambda key: (_ for _ in ()).throw(InputError("written by a newer S2L")))
    with pytest.raises(InputError, match="newer"):
        run(worker, two_stages()[0])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("no key is set"), "wrong"),
        (OutOfReach("the store does not answer"), "unreached"),
        (RuntimeError("no driver"), "broken"),
    ],
)
def test_why_a_worker_could_not_be_made_is_told(error: Exception, expected: str) -> None:
    outcome = not_made(error)
    assert str(error) in str(getattr(outcome, expected))
    assert [bool(one) for one in (outcome.wrong, outcome.unreached, outcome.broken)].count(True) == 1


# --- outages, notices, smaller pieces ---


def failing_worker(tmp_path: Path, failing: FailingStore, said: list[str]) -> Worker:
    policy = RetryPolicy(transient=Transient(tries=3, wait_s=0.0))
    ledger = patient(Ledger(failing, notice=lambda _: None), policy.transient, say=said.append)
    return Worker(ledger=ledger, scratch=Scratch(tmp_path / "scratch"), leases=LeaseKeeper(ledger.leases), host="here", policy=policy)


@pytest.mark.parametrize("call", ["create", "put_file", "get", "size", "delete", "list", "replace"])
def test_an_outage_at_any_call_costs_no_computation(tmp_path: Path, stages: Stages, call: str) -> None:
    for fail_at in range(1, 30):
        failing = FailingStore(open_store(str(tmp_path / f"store-{call}-{fail_at}")), fail_at=fail_at, only=(call,), once=True)
        worker = failing_worker(tmp_path, failing, [])
        data, blind = two_stages()
        stages.jobs.clear()
        outcome = run(worker, data, blind)
        worker.leases.close()
        assert outcome.ran == (data.key, blind.key)
        assert (stages.count("data"), stages.count("blind")) == (1, 1)
        if len(failing.calls) < fail_at:
            break


def test_a_store_that_stays_away_is_told_and_no_computation_is_tried_again_for_it(tmp_path: Path, stages: Stages) -> None:
    said: list[str] = []
    failing = FailingStore(open_store(str(tmp_path / "store")), fail_at=2, only=("create",))  # the first is the lease
    worker = failing_worker(tmp_path, failing, said)
    data, _ = two_stages()
    outcome = run(worker, data)
    assert "told to fail" in outcome.unreached
    assert (outcome.ran, outcome.failed, stages.count("data")) == ((), {}, 1)
    assert len(said) == 2


def test_a_unit_whose_machine_is_taken_away_keeps_what_it_had_and_records_no_failure(worker: Worker, stages: Stages) -> None:
    data, blind = two_stages()
    stages.set("data", lambda job: worker.leaving.set() or leave("images")(job))
    outcome = run(worker, data, blind)
    assert outcome.preempted
    assert (outcome.ran, outcome.committed) == ((data.key,), (data.key,))
    assert (stages.count("blind"), worker.ledger.failures(), worker.ledger.leases.held()) == (0, [], {})
    worker.leaving.clear()
    assert run(worker, data, blind).ran == (blind.key,)


def test_a_stage_that_cannot_resume_is_left_at_its_next_word_and_one_that_can_at_its_checkpoint(worker: Worker, stages: Stages) -> None:
    reached: list[str] = []

    def long(job: StageJob) -> None:
        worker.leaving.set()
        job.say(0.5, "half")
        reached.append(str(job.spec.kind))  # type: ignore[attr-defined]
        leave("done")(job)

    data, _ = two_stages()
    stages.set("data", long)
    assert run(worker, data).preempted
    assert reached == []
    worker.leaving.clear()
    stages.set("shake", long)
    sys.modules["jobs.stages.shake"].RESUMES = True  # type: ignore[attr-defined]
    assert run(worker, shake := a_shake()).ran == (shake.key,)
    assert reached == ["shake"]


def test_waiting_for_a_hub_ends_when_the_machine_is_taken_away(worker: Worker, stages: Stages) -> None:
    worker.policy = RetryPolicy(transient=Transient(wait_s=1000.0))
    data, _ = two_stages()

    def no_hub(job: StageJob) -> None:
        worker.leaving.set()
        raise OutOfReach("the hub does not answer")

    stages.set("data", no_hub)
    assert run(worker, data).preempted


@pytest.mark.parametrize(
    ("asked", "halved", "expected"), [(None, 0, None), (None, 1, 4), (None, 9, 1), (2, 0, 2), (2, 1, 1), (99, 0, None)]
)
def test_pieces_are_as_small_as_the_user_or_lost_workers_ask_for(
    worker: Worker, stages: Stages, asked: int | None, halved: int, expected: int | None
) -> None:
    shake = a_shake()
    worker.micro_batch = asked
    run_order(WorkOrder.of(Unit("u", "cell", (shake,), frozenset()), {}, {shake.key: halved, "other": 3}), worker, lambda *_: None)
    assert [job.micro_batch for _, job in stages.jobs] == [expected]


def test_a_stage_without_batches_is_not_cut_into_pieces(worker: Worker, stages: Stages) -> None:
    data, _ = two_stages()
    stages.set("data", fail(MemoryError("no room"), times=2))
    worker.micro_batch = 2
    assert run(worker, data).ran == (data.key,)
    assert {job.micro_batch for _, job in stages.jobs} == {None}


def test_a_record_says_how_often_and_in_which_pieces_a_stage_was_tried(worker: Worker, stages: Stages) -> None:
    stages.set("shake", fail(MemoryError("no room")))
    run(worker, a_shake())
    (failure,) = worker.ledger.failures()
    assert (failure.tries, failure.micro_batch) == (4, 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", failure.at)


def test_nothing_that_a_unit_tells_holds_a_secret(worker: Worker, stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    data, _ = two_stages()
    stages.set("data", fail(RuntimeError("http://ada:planted-password@host said planted-secret\nplanted-secret")))
    told: list[str] = []
    order = WorkOrder.of(Unit("u", "prepare", (data,), frozenset()), {})
    outcome = run_order(order, worker, lambda key, fraction, words: told.append(words))
    assert "planted" not in repr(outcome) + "".join(told) + worker.ledger.failures()[0].model_dump_json()
    assert outcome.failed[data.key][1] == "http://***@host said ***"
