"""Axes of words side by side, and the whole grid at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dashboards.by_value import ByValue, by_values
from dashboards.glance import glance_plot, glance_table
from dashboards.groups import groups_of
from dashboards.results import cells
from dashboards.sweeps import sweeps
from tests.ablations_by_hand import finished


def groups_in(world: Any) -> Any:
    return groups_of(world.plan, world.ledger, cells(world.plan, world.ledger))


def by_value_of(tmp_path: Path, *points: dict[str, Any]) -> list[ByValue]:
    every = [{"domain": domain, "method": "lora", "train_on": "sp", "seed": 0} | point for domain in ("alba", "bruno") for point in points]
    world = finished(tmp_path, every, lambda axes, attack: 0.3, attacks=("loss",))
    groups = groups_in(world)
    return by_values(world.plan, groups, sweeps(world.plan, groups))


def test_models_are_compared_for_each_method(tmp_path: Path) -> None:
    points = [{"method": method, "model": model} for method in ("dreambooth", "lora") for model in ("tiny", "small")]
    (found,) = by_value_of(tmp_path, *points)
    assert found.axis == "model"
    svg = found.drawings[0].svg
    assert [svg.count(f">{words}</text>") for words in ("model = tiny", "model = small", "dreambooth", "lora")] == [1, 1, 2, 2]


def test_one_method_s_values_are_the_rows_under_its_name(tmp_path: Path) -> None:
    (found,) = by_value_of(tmp_path, *({"model": model} for model in ("tiny", "small", "large")))
    svg = found.drawings[0].svg
    assert [svg.count(f">{words}</text>") for words in ("lora", "model = tiny", "model = small", "model = large")] == [1, 1, 1, 1]


def test_unrelated_prompts_stand_beside_those_that_they_are_the_control_of(tmp_path: Path) -> None:
    (found,) = by_value_of(tmp_path, {"sp_prompts": "photo"}, {"sp_prompts": "unrelated"}, {"train_on": "members", "sp_prompts": None})
    svg = found.drawings[0].svg
    assert ">sp_prompts = photo</text>" in svg
    assert ">sp_prompts = unrelated</text>" in svg


def test_numbers_and_what_a_curve_shows_already_are_not_shown_again(tmp_path: Path) -> None:
    assert by_value_of(tmp_path / "a", {"rank": 1}, {"rank": 8}) == []
    swept = [{"rank": rank, "alpha": alpha} for rank in (1, 2, 4) for alpha in ("rank", 32.0)]
    assert by_value_of(tmp_path / "b", *swept) == []


def test_a_small_grid_is_one_plot_at_a_glance_and_a_large_one_a_table(quiet: Any, many: Any) -> None:
    assert glance_plot(groups_in(quiet)) is not None
    groups = groups_in(many)
    assert glance_plot(groups) is not None
    wide = {f"attack-{number}": members for number, members in enumerate([groups["secmi"]] * 3)}
    assert glance_plot(wide) is None
    table = glance_table(wide)
    assert table is not None
    assert table.attacks == ["attack-0", "attack-1", "attack-2"]
    assert [group.title for group, _ in table.rows][-3:] == [
        "dreambooth (on members)",
        "dreambooth (on unrelated pictures)",
        "gaussian (equal noise)",
    ]
    assert all(len(row) == 3 and None not in row for _, row in table.rows)


def test_what_curves_show_is_left_out_of_the_glance(ranks: Any) -> None:
    groups = groups_in(ranks)
    shown = frozenset(way for sweep in sweeps(ranks.plan, groups) for way in sweep.shown)
    assert glance_plot(groups) is not None
    assert glance_plot(groups, shown) is None
    assert glance_table(groups, shown) is None
