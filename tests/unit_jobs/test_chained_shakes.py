"""Shakes that hang on other shakes: rounds, and noise that is as long as another's change. Ready in order, and blocked by what failed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from jobs.execute.options import RunOptions
from jobs.execute.progress import Silent
from jobs.execute.result import RunResult
from jobs.execute.run import run_plan
from jobs.execute.units import make_units
from jobs.grid.read import parse_grid
from jobs.ledger.ledger import Ledger
from jobs.plan.expand import expand
from jobs.plan.graph import Node
from jobs.plan.plan import Plan
from jobs.stages.contract import StageJob
from jobs.store.open import open_store
from tests.stated_inputs import after, by_method, parent

STAGES = "tests.benchmarks.noop_stages"
GRID = """\
name: chained
fixed: {attacks: [loss], domain: zorvik}
axes:
  method: [none, dreambooth, textual-inversion, end2end]
  rounds: [1, 2, 3]
  seed: [0]
when:
  rounds: {method: dreambooth}
include:
  - {method: gaussian, sigma: match, rounds: 1}
  - {method: dreambooth, rounds: 1, attack_domain: mellune}
"""


@pytest.fixture
def plan() -> Plan:
    return expand(parse_grid(GRID, "chained.yaml"))


def ran(plan: Plan, folder: Path) -> RunResult:
    store = str(folder / "store")
    return run_plan(plan, Ledger(open_store(store)), RunOptions(store, local=True, stages=STAGES), Silent(), lambda trial, state: None)


def round_of(plan: Plan, number: int) -> Node:
    (trial,) = [trial for trial in by_method(plan, "dreambooth") if trial.axes["rounds"] == number and trial.axes["attack_domain"] is None]
    assert trial.shake is not None
    return trial.shake


def test_a_round_s_set_is_drawn_in_the_cell_of_the_shake_that_draws_it(plan: Plan) -> None:
    units = {key: unit for unit in make_units(plan.nodes()) for key in unit.keys}
    first, second = round_of(plan, 1), round_of(plan, 2)
    drawn = parent(second, "train")
    assert units[drawn.key] is units[first.key]
    assert units[second.key] is not units[first.key]
    assert drawn.key in units[second.key].needs


def test_matched_noise_waits_for_the_shake_it_is_matched_to(plan: Plan) -> None:
    units = {key: unit for unit in make_units(plan.nodes()) for key in unit.keys}
    (noise,) = by_method(plan, "gaussian")
    assert noise.shake is not None
    assert parent(noise.shake, "match").key in units[noise.shake.key].needs


def test_all_ways_of_an_attack_and_all_attacked_domains_are_in_one_cell(plan: Plan) -> None:
    units = {key: unit for unit in make_units(plan.nodes()) for key in unit.keys}
    first = [trial for trial in by_method(plan, "dreambooth") if trial.shake == round_of(plan, 1)]
    tokens, whole = (by_method(plan, method)[0] for method in ("textual-inversion", "end2end"))
    for trials in (first, [tokens], [whole]):
        scores = [after(trial, leaf) for trial in trials for leaf in trial.metrics]
        assert len(scores) == 2
        assert len({units[score.key].id for score in scores}) == 1


def test_chains_run_to_their_end(plan: Plan, tmp_path: Path) -> None:
    result = ran(plan, tmp_path)
    assert result.counts() == {"done": len(plan.trials), "failed": 0, "blocked": 0}
    assert result.ran == {node.key for node in plan.nodes()}


def test_what_hangs_on_a_failed_round_is_blocked_and_the_rest_is_done(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shakes, first = importlib.import_module(f"{STAGES}.shake"), round_of(plan, 1)
    run = shakes.run

    def failing(job: StageJob) -> None:
        if job.key == first.key:
            raise ValueError("this round cannot be")
        run(job)

    monkeypatch.setattr(shakes, "run", failing)
    result = ran(plan, tmp_path)
    told = {
        (trial.axes["method"], trial.axes["rounds"], trial.axes["attack_domain"]): result.states[trial.key].state for trial in plan.trials
    }
    assert told == {
        ("none", None, None): "done",
        ("dreambooth", 1, None): "failed",
        ("dreambooth", 1, "mellune"): "failed",
        ("dreambooth", 2, None): "blocked",
        ("dreambooth", 3, None): "blocked",
        ("gaussian", 1, None): "blocked",
        ("textual-inversion", None, None): "done",
        ("end2end", None, None): "done",
    }
