"""Whole runs in this process with stages that do nothing: rounds, what is given up, what a run says it did."""

from __future__ import annotations

import importlib
import itertools
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli.main import s2l
from jobs.errors import Corrupt, InputError, OutOfReach
from jobs.execute import ongoing as ongoing_module
from jobs.execute import run as run_module
from jobs.execute.backends import RayBackend
from jobs.execute.losses import Verdict
from jobs.execute.options import RunOptions
from jobs.execute.progress import Silent
from jobs.execute.queue import Outcome, Queue
from jobs.execute.result import RunResult
from jobs.execute.run import run_plan
from jobs.execute.units import make_units
from jobs.grid.read import parse_grid
from jobs.ledger.holder import Holder
from jobs.ledger.leases import LeaseRecord
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.ledger.memory import Memory
from jobs.ledger.paths import Paths
from jobs.ledger.verify import verify
from jobs.plan.expand import expand
from jobs.plan.graph import Node
from jobs.plan.plan import Plan, Trial
from jobs.stages.contract import StageJob
from jobs.states import TrialState
from jobs.store.open import open_store
from tests.failing_store import FailingStore
from tests.ledger_cases import leave

STAGES = "tests.benchmarks.noop_stages"
GRID = """\
name: nothing
fixed: {attacks: [loss, pia], alpha: rank}
axes:
  domain: [zorvik, mellune]
  method: [none, lora]
"""


class World:
    """A grid, an empty store, and what trials were told of."""

    def __init__(self, folder: Path) -> None:
        self.plan: Plan = expand(parse_grid(GRID, "nothing.yaml"))
        self.store = str(folder / "store")
        self.ledger = Ledger(open_store(self.store), notice=lambda _: None)
        self.told: list[tuple[str, str]] = []

    def run(self) -> RunResult:
        self.told.clear()
        return run_plan(self.plan, self.ledger, RunOptions(self.store, local=True, stages=STAGES), Silent(), self._tell)

    def _tell(self, trial: Trial, state: TrialState) -> None:
        self.told.append((trial.key, state.state))

    def nodes(self, kind: str, word: str = "") -> list[Node]:
        return [node for node in self.plan.nodes() if node.kind == kind and word in node.spec.model_dump_json()]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(run_module, "BUSY_POLL_S", 0.05)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return World(tmp_path)


Break = Callable[[str, Callable[[StageJob], bool]], list[str]]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Makes stages of a kind fail where the condition holds; gives the list of keys that were tried."""

    def breaks(kind: str, where: Callable[[StageJob], bool]) -> list[str]:
        tried: list[str] = []

        def run(job: StageJob) -> None:
            tried.append(job.key)
            if len(tried) > 50:
                pytest.exit("the same stages are tried without end")
            if where(job):
                raise ValueError("cannot work")
            (job.out / "out.json").write_text("{}")

        monkeypatch.setattr(importlib.import_module(f"{STAGES}.{kind}"), "run", run)
        return tried

    return breaks


def test_a_failed_stage_is_not_tried_again_while_another_driver_is_waited_for(world: World, broken: Break) -> None:
    failing, held_up = world.nodes("sp", "zorvik")[0], world.nodes("shake", "mellune")[0]
    tried = broken("sp", lambda job: job.key == failing.key)
    shakes = broken("shake", lambda job: False)
    lease = world.ledger.leases.take(held_up.key)
    assert lease is not None
    release = threading.Timer(0.4, world.ledger.leases.release, [lease])
    release.start()
    result = world.run()
    release.join()
    assert tried.count(failing.key) == 1
    assert shakes == [held_up.key]
    assert result.counts() == {"done": 3, "failed": 0, "blocked": 1}
    assert len(result.ran) + result.reused + len(result.failed) < len(world.plan.nodes())
    assert set(result.failed) == {failing.key}


def test_a_stage_that_belongs_to_no_trial_and_fails_is_told_by_the_exit_code(
    world: World, broken: Break, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken("pooled", lambda job: True)
    result = world.run()
    assert result.counts() == {"done": 4, "failed": 0, "blocked": 0}
    assert {world.ledger.failures()[0].kind} == {"pooled"}
    monkeypatch.setattr(run_module, "run_plan", lambda *_: result)
    grid = tmp_path / "nothing.yaml"
    grid.write_text(GRID)
    done = CliRunner().invoke(s2l, ["run", str(grid), "--store", world.store, "--local", "--no-tracking"], standalone_mode=False)
    assert done.return_value == 3


def test_the_counts_of_stages_add_up_before_and_after_the_cause_is_mended(
    world: World, broken: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = len(world.plan.nodes())
    with monkeypatch.context() as patch:
        failing = world.nodes("shake", "zorvik")[0]
        module = importlib.import_module(f"{STAGES}.shake")
        patch.setattr(module, "run", lambda job: (_ for _ in ()).throw(ValueError("no")) if job.key == failing.key else _leave(job))
        first = world.run()
    assert first.counts() == {"done": 3, "failed": 1, "blocked": 0}
    assert (first.reused, len(first.failed)) == (0, 1)
    second = world.run()
    assert second.counts() == {"done": 4, "failed": 0, "blocked": 0}
    assert len(second.ran) == total - len(first.ran)
    assert (second.reused, second.failed) == (len(first.ran), {})
    third = world.run()
    assert (len(third.ran), third.reused, third.failed) == (0, total, {})


def _leave(job: StageJob) -> None:
    (job.out / "out.json").write_text("{}")


def test_a_worker_lost_after_its_last_commit_is_no_failure(world: World) -> None:
    world.run()
    run = ongoing_module.Ongoing(world.plan, world.ledger, RunOptions(world.store), Silent(), lambda *_: None)
    unit = next(unit for unit in make_units(world.plan.nodes()) if unit.kind == "cell")
    assert run.give_up(unit, Verdict("preempted", "died")) == Outcome(committed=tuple(unit.keys))
    assert world.ledger.failures() == []


def test_a_unit_gets_further_by_a_newer_checkpoint_or_a_committed_stage_and_not_by_the_same_checkpoint_again(
    world: World, tmp_path: Path
) -> None:
    run = ongoing_module.Ongoing(world.plan, world.ledger, RunOptions(world.store), Silent(), lambda *_: None)
    unit = next(unit for unit in make_units(world.plan.nodes()) if unit.kind == "cell")
    stood = [run.stands(unit)]
    for number, content in enumerate(["step 1", "step 1", "step 2"], 1):
        progress = world.ledger.progress(unit.keys[0], number)
        progress.save(leave(tmp_path, f"checkpoint-{number}", {"state": content.encode()}))
        stood.append(run.stands(unit))
    world.run()
    stood.append(run.stands(unit))
    assert [one == before for before, one in itertools.pairwise(stood)] == [False, True, False, False]


def test_more_gpus_than_there_are_is_refused_before_anything_waits_for_them(world: World) -> None:
    options = RunOptions(world.store, gpu_share=0.5, stages=STAGES)
    run = ongoing_module.Ongoing(world.plan, world.ledger, options, Silent(), lambda *_: None)
    backend = RayBackend(run, Path("unused"), ExitStack(), slots=2, gpus=0.0)
    with pytest.raises(InputError, match=r"0\.5 GPUs, and there are 0"):
        backend.run(Queue([]))


def test_a_file_that_cannot_be_written_is_said_without_a_traceback(world: World, tmp_path: Path) -> None:
    grid = tmp_path / "nothing.yaml"
    grid.write_text(GRID)
    for args in (["results", str(grid), "--format", "csv"], ["report", str(grid)]):
        with pytest.raises(InputError, match="cannot write"):
            s2l.main([*args, "--store", world.store, "-o", str(tmp_path / "no" / "such" / "file")], standalone_mode=False)


def test_a_store_that_never_gives_back_what_was_written_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = Ledger.fetch

    def spoiled(ledger: Ledger, manifest: Manifest, into: Path) -> None:
        if manifest.kind == "sp":
            ledger.retire(manifest, "spoiled")
            raise Corrupt("spoiled")
        fetch(ledger, manifest, into)

    monkeypatch.setattr(Ledger, "fetch", spoiled)
    with pytest.raises(OutOfReach, match="is its disk failing"):
        world.run()


def test_a_stage_whose_holder_on_another_machine_is_silent_is_taken_over_by_new_workers(world: World, broken: Break) -> None:
    world.ledger.leases.ttl = 0.3  # the driver's; each round's workers start with a fresh look, as Ray's do
    held_up = world.nodes("shake", "mellune")[0]
    shakes = broken("shake", lambda job: False)
    holder = Holder.me().model_copy(update={"host": "another"})
    world.ledger.store.create(Paths.lease(held_up.key), LeaseRecord(holder=holder, number=5).to_bytes())
    result = world.run()
    assert result.counts() == {"done": 4, "failed": 0, "blocked": 0}
    assert held_up.key in shakes
    assert world.ledger.leases.held() == {}


class Noted(Silent):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_driver_in_the_middle_of_a_run_waits_for_its_store_and_says_so(world: World, broken: Break) -> None:
    plan = expand(parse_grid(GRID + "retry: {transient: {wait_s: 0}}\n", "nothing.yaml"))
    broken("sp", lambda job: True)  # what fails is looked up and recorded by the driver, too
    begun = [False]

    class Away(FailingStore):
        """Every third call fails once the run has begun."""

        def _count(self, method: str, name: str) -> bool:
            self.calls.append(name)
            if begun[0] and len(self.calls) % 3 == 0:
                raise OutOfReach("the store is away")
            return False

    class Begun(Noted):
        def begin(self, total: int, reused: int) -> None:
            begun[0] = True

    reporter, ledger = Begun(), Ledger(Away(open_store(world.store)), notice=lambda _: None)
    result = run_plan(plan, ledger, RunOptions(world.store, local=True, stages=STAGES), reporter, world._tell)
    assert result.counts() == {"done": 2, "failed": 0, "blocked": 2}
    assert any("the store does not answer, trying again in 0 s: the store is away" in note for note in reporter.notes)


def test_a_store_that_is_away_from_the_start_ends_the_run_at_once(world: World) -> None:
    failing, reporter = FailingStore(open_store(world.store), fail_at=1), Noted()
    with pytest.raises(OutOfReach):
        run_plan(world.plan, Ledger(failing), RunOptions(world.store, local=True, stages=STAGES), reporter, world._tell)
    assert (len(failing.calls), reporter.notes) == (1, [])


def test_notes_and_failures_are_told_without_secrets(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "planted-token")
    reporter = Noted()
    told: list[str] = []
    monkeypatch.setattr(reporter, "finished", lambda names, failed: told.extend(failed))
    run = ongoing_module.Ongoing(world.plan, world.ledger, RunOptions(world.store), reporter, lambda *_: None)
    unit = make_units(world.plan.nodes())[0]
    run.note(unit, Outcome(failed={unit.keys[0]: ("unknown", "said planted-token")}, notes=("noted planted-token",)))
    assert reporter.notes == ["noted ***"]
    assert told[0].endswith("unknown: said ***")


@pytest.mark.parametrize("how", ["flipped byte", "deleted blob", "truncated manifest"])
def test_results_that_were_spoiled_are_made_again_by_running_again(world: World, how: str) -> None:
    world.run()
    node = world.nodes("metrics")[0]
    manifest = world.ledger.manifest(*node.id)
    assert manifest is not None
    place = Path(world.store)
    blob, text = place / Paths.blob(manifest.payloads[0].sha256), place / Paths.manifest(*node.id)
    if how == "flipped byte":
        blob.write_bytes(b"!" + blob.read_bytes()[1:])
    elif how == "deleted blob":
        blob.unlink()
    else:
        text.write_bytes(text.read_bytes()[:50])
    result = world.run()
    assert node.key in result.ran
    trial = next(trial for trial in world.plan.trials if node in trial.leaves())
    assert world.told.count((trial.key, "done")) == 2, "the mirror hears of what was made again"
    assert result.counts() == {"done": 4, "failed": 0, "blocked": 0}
    assert verify(world.ledger) == []
    assert world.run().ran == set()


@pytest.mark.parametrize("asked", [False, True])
def test_gradient_checkpointing_reaches_the_shakes_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool) -> None:
    shakes = importlib.import_module(f"{STAGES}.shake")
    seen: list[bool] = []
    run = shakes.run

    def looked_at(job: StageJob) -> None:
        seen.append(job.gradient_checkpointing)
        run(job)

    monkeypatch.setattr(shakes, "run", looked_at)
    world = World(tmp_path)
    options = RunOptions(world.store, local=True, stages=STAGES, gradient_checkpointing=asked)
    assert run_plan(world.plan, world.ledger, options, Silent(), world._tell).ran == {node.key for node in world.plan.nodes()}
    assert seen == [asked] * 2


def test_a_stage_that_went_missing_elsewhere_is_read_anew_when_it_is_to_be_made_again(world: World) -> None:
    world.run()
    node = world.nodes("metrics")[0]
    ledger = Ledger(open_store(world.store), notice=lambda _: None, memory=Memory())
    run = ongoing_module.Ongoing(world.plan, ledger, RunOptions(world.store), Silent(), lambda *_: None)
    manifest = run.ledger.manifest(*node.id)
    assert manifest is not None
    world.ledger.retire(manifest, "spoiled, another process says")
    run.expect([node])
    assert run.ledger.manifest(*node.id) is None
