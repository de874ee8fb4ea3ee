"""Which axes become curves, what a line is, and what a point is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboards.groups import groups_of
from dashboards.results import cells
from dashboards.sweeps import Sweep, sweeps
from tests.ablations_by_hand import finished


def sweeps_of(world: Any) -> list[Sweep]:
    return sweeps(world.plan, groups_of(world.plan, world.ledger, cells(world.plan, world.ledger)))


def world_with(tmp_path: Path, *points: dict[str, Any], domains: tuple[str, ...] = ("alba",)) -> Any:
    every = [{"domain": domain, "method": "lora", "seed": 0} | point for domain in domains for point in points]
    return finished(tmp_path, every, lambda axes, attack: 0.01 * (axes.get("rank") or 1), attacks=("loss",))


def test_an_axis_of_numbers_has_a_curve_for_each_attack_and_a_line_for_each_way_that_is_left(ranks: Any) -> None:
    (sweep,) = sweeps_of(ranks)
    assert sweep.axis == "rank"
    assert [panel.attack for panel in sweep.panels] == ["loss", "secmi"]
    assert [entry.label for entry in sweep.legend] == ["alpha = rank", "alpha 32", "lora (on members)"]
    assert set(sweep.shown) == {
        *(("method", f"lora, rank {rank}, alpha {alpha}") for rank in (1, 2, 4, 8) for alpha in ("= rank", "32")),
        *(("members", f"lora, rank {rank}") for rank in (1, 2, 4, 8)),
    }


def test_a_point_is_the_pooled_value_with_its_interval_where_domains_are_pooled(ranks: Any) -> None:
    (sweep,) = sweeps_of(ranks)
    pooled = next(pool for pool in ranks.plan.pools if (pool.attack, pool.axes["rank"], pool.axes["alpha"]) == ("loss", 4, 32.0))
    document = ranks.ledger.manifest("pooled", pooled.node.key)
    assert document is not None
    (name, rows) = sweep.panels[0].table[1]
    row = next(row for row in rows if row.value == "rank 4")
    assert name == "alpha 32"
    assert row.summary.how == "pooled over 6 domains"
    assert row.summary.low is not None
    assert row.summary.low < row.summary.delta < (row.summary.high or 0)
    assert "pooled over 6 domains, with its 95 % interval" in sweep.words


def test_without_pools_a_point_is_the_mean_and_says_that_it_has_no_interval(tmp_path: Path) -> None:
    world = world_with(tmp_path, *({"rank": rank, "seed": seed} for rank in (1, 2, 4) for seed in (0, 1)))
    (sweep,) = sweeps_of(world)
    summary = sweep.panels[0].table[0][1][0].summary
    deltas = [world.measured(trial, "loss")["metrics"]["auc"]["delta"] for trial in world.plan.trials if trial.axes["rank"] == 1]
    assert summary.delta == pytest.approx(sum(deltas) / 2)
    assert (summary.low, summary.verdict, summary.how) == (None, None, "mean of 2 trials")
    assert "Thin lines are single trials" in sweep.words


def test_a_single_trial_at_each_value_keeps_its_own_interval(tmp_path: Path) -> None:
    world = world_with(tmp_path, *({"rank": rank} for rank in (1, 2, 4)))
    (sweep,) = sweeps_of(world)
    assert all(row.summary.low is not None for _, rows in sweep.panels[0].table for row in rows)


@pytest.mark.parametrize(
    "points",
    [
        [{"rank": 1}, {"rank": 2}],
        [{"rank": 1, "seed": seed} for seed in range(5)],
        [{"model": model} for model in ("a", "b", "c")],
        [{"rank": 1, "alpha": alpha} for alpha in ("rank", 32.0)],
    ],
)
def test_two_numbers_seeds_and_words_are_no_curve(tmp_path: Path, points: list[dict[str, Any]]) -> None:
    assert sweeps_of(world_with(tmp_path, *points)) == []


def test_axes_that_move_together_are_one_curve_and_it_says_so(tmp_path: Path) -> None:
    (sweep,) = sweeps_of(world_with(tmp_path, *({"rank": rank, "steps": 10 * rank} for rank in (1, 2, 4))))
    assert sweep.axis == "rank"
    assert "Along with rank moves steps" in sweep.words
    assert len(sweep.panels[0].table) == 1


def test_two_axes_of_numbers_are_two_curves_each_with_the_other_s_values_as_lines(tmp_path: Path) -> None:
    found = sweeps_of(world_with(tmp_path, *({"rank": rank, "steps": steps} for rank in (1, 2, 4) for steps in (10, 20, 50))))
    assert [sweep.axis for sweep in found] == ["rank", "steps"]
    assert [entry.label for entry in found[0].legend] == ["steps 10", "steps 20", "steps 50"]
    assert [entry.label for entry in found[1].legend] == ["rank 1", "rank 2", "rank 4"]


def test_a_method_without_the_axis_and_the_baseline_are_no_lines(tmp_path: Path) -> None:
    points = [{"rank": rank} for rank in (1, 2, 4)]
    world = world_with(tmp_path, *points, {"method": "dreambooth", "rank": None}, {"method": "none", "rank": None})
    (sweep,) = sweeps_of(world)
    assert {variant for _, variant in sweep.shown} == {"lora, rank 1", "lora, rank 2", "lora, rank 4"}


def test_many_lines_are_told_apart_at_their_ends_and_too_many_are_cut_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboards.sweeps.MAX_LINES", 7)
    methods = ("dreambooth", "end2end", "lora", "lora+dreambooth", "textual-inversion", "hypernetwork", "hypernetwork+dreambooth", "other")
    (sweep,) = sweeps_of(world_with(tmp_path, *({"method": method, "steps": steps} for method in methods[:8] for steps in (1, 2, 3))))
    assert [entry.number for entry in sweep.legend] == ["1", "2", "3", "4", "5", "6", "7"]
    assert "1 further lines are left out" in sweep.words
    assert all(f">{number}</text>" in sweep.panels[0].drawing.svg for number in range(1, 8))


def test_short_labels_stand_at_the_lines_themselves(tmp_path: Path) -> None:
    points = [{"rank": rank, "steps": steps} for rank in range(1, 9) for steps in (10, 20, 50)]
    steps = next(sweep for sweep in sweeps_of(world_with(tmp_path, *points)) if sweep.axis == "steps")
    assert steps.legend == []
    assert ">rank 8</text>" in steps.panels[0].drawing.svg


def test_zero_on_a_logarithmic_axis_is_explained(tmp_path: Path) -> None:
    points = [{"method": "gaussian", "sigma": sigma} for sigma in (0, 0.001, 0.01, 0.1)]
    (sweep,) = sweeps_of(world_with(tmp_path, *points))
    assert "Zero has no place on a logarithmic axis" in sweep.words


def test_a_grid_that_is_not_finished_is_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    world = world_with(tmp_path, {"rank": 1})
    assert sweeps_of(world) == []


def test_readers_without_eyes_are_told_where_each_line_begins_and_ends(ranks: Any) -> None:
    words = sweeps_of(ranks)[0].panels[0].drawing.words
    assert "against rank" in words
    assert "alpha = rank: " in words
    assert " at 1 to +" in words
