"""`s2l retry`: what it takes up, what it leaves, and what becomes of the records. The stages do nothing, or fail as told."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from jobs.cli.main import s2l
from jobs.errors import InputError, OutOfReach
from jobs.execute import run as run_module
from jobs.execute.options import RunOptions
from jobs.execute.progress import Silent
from jobs.execute.result import RunResult
from jobs.execute.run import run_plan
from jobs.grid.read import parse_grid
from jobs.ledger.failures import newest
from jobs.ledger.ledger import Ledger
from jobs.plan.again import Again, select
from jobs.plan.expand import expand
from jobs.plan.graph import Node
from jobs.plan.plan import Plan, Trial
from jobs.stages.contract import StageJob
from jobs.states import trial_states
from jobs.store.open import open_store

STAGES = "tests.benchmarks.noop_stages"
GRID = """\
name: nothing
fixed: {attacks: [loss], alpha: rank}
axes:
  domain: [zorvik, mellune]
  method: [none, lora]
  seed: [0, 1]
"""


class World:
    """A grid and a store in which shakes and SP sets failed as told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plan: Plan = expand(parse_grid(GRID, "nothing.yaml"))
        self.folder, self.store = folder, str(folder / "store")
        self.ledger = Ledger(open_store(self.store), notice=lambda _: None)
        self.errors: dict[str, Exception] = {}
        self.jobs: list[StageJob] = []
        for kind in ("shake", "sp", "pooled"):
            module = importlib.import_module(f"{STAGES}.{kind}")
            monkeypatch.setattr(module, "run", self._stage(module.run))
        (folder / "nothing.yaml").write_text(GRID)

    def _stage(self, run: Callable[[StageJob], None]) -> Callable[[StageJob], None]:
        def staged(job: StageJob) -> None:
            self.jobs.append(job)
            if job.key in self.errors:
                raise self.errors[job.key]
            run(job)

        return staged

    def run(self, plan: Plan | None = None) -> RunResult:
        self.jobs.clear()
        options = RunOptions(self.store, local=True, stages=STAGES)
        return run_plan(plan or self.plan, self.ledger, options, Silent(), lambda *_: None)

    def trial(self, domain: str, seed: int) -> Trial:
        return next(one for one in self.plan.trials if one.axes == {"domain": domain, "method": "lora", "seed": seed})

    def shake(self, domain: str, seed: int) -> Node:
        shake = self.trial(domain, seed).shake
        assert shake is not None
        return shake

    def sp(self, domain: str) -> Node:
        found = self.shake(domain, 0).parent("train")
        assert found is not None
        return found

    def select(self, *patterns: str, only: tuple[str, ...] = ()) -> Again:
        return select(self.plan, self.ledger, set(only), patterns)

    def states(self) -> dict[str, str]:
        committed = {key for kind in {node.kind for node in self.plan.nodes()} for key in self.ledger.committed(kind)}
        return {key: state.state for key, state in trial_states(self.plan, committed, newest(self.ledger.failures())).items()}

    def cli(self, *args: str, monkeypatch: pytest.MonkeyPatch, command: str = "retry") -> Any:
        """`s2l retry` (or `run`), with stages that do nothing."""
        plain = run_module.run_plan
        self.jobs.clear()

        def with_stages(plan: Plan, ledger: Ledger, options: RunOptions, *more: Any) -> RunResult:
            self.options = options
            return plain(plan, ledger, RunOptions(**vars(options) | {"stages": STAGES}), *more)

        monkeypatch.setattr(run_module, "run_plan", with_stages)
        return self.retry(*args, command=command)

    def retry(self, *args: str, command: str = "retry") -> Any:
        words = [command, str(self.folder / "nothing.yaml"), "--store", self.store, "--local", "--no-tracking", *args]
        return CliRunner().invoke(s2l, words, standalone_mode=False, catch_exceptions=False)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """One shake has no memory, one is misconfigured, and the other domain's SP set cannot be drawn: two blocked trials."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = World(tmp_path, monkeypatch)
    found.errors = {
        found.shake("zorvik", 0).key: MemoryError("no room\nmore"),
        found.shake("zorvik", 1).key: ValueError("cannot work"),
        found.sp("mellune").key: ValueError("cannot work"),
    }
    assert found.run().counts() == {"done": 2, "failed": 2, "blocked": 2}
    return found


def trials(again: Again) -> set[tuple[str, int]]:
    return {(one.axes["domain"], one.axes["seed"]) for one in again.plan.trials}


def test_all_that_failed_is_taken_up_and_what_waits_for_it_too(world: World) -> None:
    assert trials(world.select()) == {("zorvik", 0), ("zorvik", 1), ("mellune", 0), ("mellune", 1)}


def test_a_class_takes_up_its_own_and_leaves_the_rest(world: World) -> None:
    again = world.select(only=("oom",))
    assert trials(again) == {("zorvik", 0)}
    assert again.groups() == [{"class": "oom", "message": "no room", "count": 1}]
    assert again.stages(world.ledger) == {"shake": 1, "score": 1, "metrics": 1}
    assert trials(world.select(only=("configuration",))) == {("zorvik", 1), ("mellune", 0), ("mellune", 1)}
    assert trials(world.select(only=("hung",))) == set()


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["seed=1"], {("zorvik", 1), ("mellune", 1)}),
        (["domain=mel*"], {("mellune", 0), ("mellune", 1)}),
        (["domain=zorvik,seed=0"], {("zorvik", 0)}),
        (["domain=zorvik,seed=0", "domain=mellune,seed=1"], {("zorvik", 0), ("mellune", 1)}),
        (["method=none"], set()),
    ],
)
def test_a_pattern_of_axes_takes_up_the_trials_that_it_fits(world: World, patterns: list[str], expected: set[tuple[str, int]]) -> None:
    assert trials(world.select(*patterns)) == expected


def test_a_pattern_may_be_the_beginning_of_a_key_or_have_a_star_in_it(world: World) -> None:
    wanted = world.trial("zorvik", 0)
    for pattern in (wanted.key[:12], f"{wanted.key[:5]}*{wanted.key[8:12]}", wanted.key[:12].upper()):
        assert [one.key for one in world.select(pattern).plan.trials] == [wanted.key]


def test_a_pattern_that_fits_nothing_is_refused_with_what_is_allowed(world: World) -> None:
    for pattern, said in (("seed=7", "fits no trial of nothing"), ("sed=1", 'did you mean "seed"'), ("zzz", "domain=zorvik, mellune")):
        with pytest.raises(InputError, match=said):
            world.select(pattern)


def test_what_was_never_tried_stays_missing_and_the_rest_of_a_retry_is_a_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.errors = {world.shake("zorvik", 1).key: ValueError("still not")}
    done = world.cli("--trials", "domain=zorvik", "--json", monkeypatch=monkeypatch)
    assert done.return_value == 3
    assert json.loads(done.stdout)["trials"] == {"done": 1, "failed": 1, "blocked": 0}
    assert {job.key for job in world.jobs if job.spec.kind == "shake"} == {world.shake("zorvik", 0).key, world.shake("zorvik", 1).key}  # type: ignore[attr-defined]
    assert {world.states()[world.trial("mellune", seed).key] for seed in (0, 1)} == {"blocked"}
    records = [one for one in world.ledger.failures() if one.key == world.shake("zorvik", 1).key]
    assert [(one.attempt, one.message, bool(one.tried_again)) for one in records] == [(1, "cannot work", True), (2, "still not", False)]
    world.errors = {}
    assert world.cli("--json", monkeypatch=monkeypatch).return_value == 0
    assert set(world.states().values()) == {"done"}
    assert world.plan.leaves()[-1].kind == "pooled"
    assert world.ledger.committed("pooled"), "what needs all trials runs when all are there"


def test_an_interrupted_retry_leaves_its_trials_missing_and_nothing_lost(world: World) -> None:
    from jobs.plan.again import mark

    again = world.select(only=("oom",))
    before = len(world.ledger.failures())
    mark(again, world.ledger)
    assert world.states()[world.trial("zorvik", 0).key] == "missing"
    assert len(world.ledger.failures()) == before
    assert world.select(only=("oom",)).plan.trials == again.plan.trials
    assert world.run().counts() == {"done": 2, "failed": 2, "blocked": 2}, "a run tries all that is missing or failed"


@pytest.mark.parametrize("ended", [OutOfReach("no Ray cluster answers"), KeyboardInterrupt()])
def test_the_same_retry_goes_on_with_what_an_earlier_one_did_not_get_done(
    world: World, monkeypatch: pytest.MonkeyPatch, ended: BaseException
) -> None:
    def end(*_: Any) -> RunResult:
        raise ended

    words = ("--only", "oom", "--json")
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "run_plan", end)
        with pytest.raises((OutOfReach, click.Abort)):
            world.retry(*words)
    assert world.states()[world.trial("zorvik", 0).key] == "missing"
    world.errors = {world.shake("zorvik", 0).key: ValueError("now another")}
    assert world.cli(*words, monkeypatch=monkeypatch).return_value == 3
    assert json.loads(world.retry(*words).stdout)["trials"] == {"done": 0, "failed": 0, "blocked": 0}, "it failed anew, of another class"
    assert trials(world.select()) == {("zorvik", 0), ("zorvik", 1), ("mellune", 0), ("mellune", 1)}
    world.errors = {}
    assert world.cli("--trials", "domain=zorvik", monkeypatch=monkeypatch).return_value == 0
    assert trials(world.select()) == {("mellune", 0), ("mellune", 1)}


def test_a_grid_that_is_only_retried_is_registered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.cli("--set", "seed=0", monkeypatch=monkeypatch)
    (grid,) = world.ledger.grids()
    part = expand(parse_grid(GRID.replace("[0, 1]", "[0]"), "nothing.yaml"))
    assert (grid["grid"], grid["grid_key"]) == ("nothing", part.grid_key)


def test_a_dry_run_says_what_would_run_and_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    records = world.ledger.failures()
    done = world.cli("--only", "oom", "--set", "gpu_share=1", "--dry-run", monkeypatch=monkeypatch)
    assert done.return_value == 0
    assert done.stdout.splitlines() == [
        "nothing: would run 1 trial again",
        "  oom: 1 failed: no room",
        "  stages: 1 metrics, 1 score, 1 shake",
        "  with gpu_share=1.0",
    ]
    answer = json.loads(world.cli("--dry-run", "--json", monkeypatch=monkeypatch).stdout)
    assert len(answer["trials"]) == 4
    assert answer["stages"] == {"shake": 4, "score": 4, "metrics": 4, "sp": 1, "pooled": 1}
    assert world.ledger.failures() == records


def test_options_that_are_set_reach_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = ("gpu_share=0", "micro_batch=2", "gradient_checkpointing=true", "keep=small", "checkpoint_every=5")
    world.cli("--only", "oom", *[word for one in sets for word in ("--set", one)], monkeypatch=monkeypatch)
    options = world.options
    found = (options.gpu_share, options.micro_batch, options.gradient_checkpointing, options.keep, options.checkpoint_every_s)
    assert found == (0.0, 2, True, "small", 5.0)
    assert [job.micro_batch for job in world.jobs] == [2, 1, 1, 1]


def test_a_retry_takes_the_options_of_a_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("--gpu-share", "0", "--gpu-memory", "24G", "--device", "cpu", "--budget", "7", "--until", "2999-12-01T06:00", "--workers", "3")
    more = ("--gradient-checkpointing", "--checkpoint-every", "5", "--keep", "none")
    world.cli(*given, *more, "--only", "oom", monkeypatch=monkeypatch)
    retried = world.options
    assert (retried.gpu_share, retried.gpu_memory, retried.device, retried.limits.budget) == (0.0, 24 * 1024**3, "cpu", 7.0)
    assert (retried.workers, retried.gradient_checkpointing, retried.checkpoint_every_s, retried.keep) == (3, True, 5.0, "none")
    assert retried.limits.until is not None
    world.cli(*given, *more, monkeypatch=monkeypatch, command="run")
    assert world.options == replace(retried, stages=world.options.stages)
    told = json.loads(world.cli("--budget", "7", "--dry-run", "--json", monkeypatch=monkeypatch).stdout)["options"]
    assert told == {"budget": 7.0, "keep": "none"}


def test_a_retry_keeps_the_weights_that_the_newest_run_of_the_grid_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.cli("--only", "oom", monkeypatch=monkeypatch)
    assert world.options.keep == "all"  # the run that failed is of no record here
    world.cli("--keep", "none", "--set", "seed=0", monkeypatch=monkeypatch, command="run")  # another grid of that name
    world.cli("--keep", "small", monkeypatch=monkeypatch, command="run")
    done = world.cli(monkeypatch=monkeypatch)
    assert world.options.keep == "small"
    assert "s2l: --keep small, as run 20" in done.stderr
    world.cli("--keep", "all", monkeypatch=monkeypatch)
    assert world.options.keep == "all"


def test_where_nothing_failed_there_is_nothing_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    done = world.cli("--only", "hung", monkeypatch=monkeypatch)
    assert (done.return_value, done.stdout) == (
        0,
        "nothing: nothing to retry: no trial failed, of these classes and of these trials\n",
    )


def test_a_pooled_stage_that_failed_is_taken_up_though_every_trial_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = world.plan.pools[0]
    world.errors = {pool.node.key: RuntimeError("boom")}
    world.run()
    assert set(world.states().values()) == {"done"}
    world.errors = {}
    assert world.cli(monkeypatch=monkeypatch).return_value == 0
    assert pool.node.key in world.ledger.committed("pooled")
