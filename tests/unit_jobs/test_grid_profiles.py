"""A grid in several sizes: what a profile lays over it, and that a registered one is planned again without the file."""

from __future__ import annotations

import pytest

from jobs.errors import GridError
from jobs.grid.model import Grid, label
from jobs.grid.read import grid_of, parse_grid
from jobs.grid.registered import plans_of
from tests.stated_inputs import StatedInputs, plan_of

GRID = """\
name: g
fixed: {attacks: [loss], lr: 1e-3, steps: 9}
by_method:
  lora: {lr: 2e-3, sp_size: 5}
axes:
  domain: [ada]
  method: [none, lora]
  rank: [1, 2]
zip: {seed: [0, 1], sp_seed: [0, 1]}
when: {rank: {method: lora}}
include: [{method: lora, rank: 1, train_on: members}]
profiles:
  tiny: {}
  large:
    fixed: {lr: 1e-6, rank: 4, guidance: 3}
    by_method: {lora: {lr: 5e-3}, none: {sp_steps: 3}}
    axes: {domain: [ada, bo], steps: [10, 20]}
    zip: {seed: [5, 6, 7], sp_seed: [0, 0, 0]}
    include: [{method: lora, train_on: unrelated}]
    exclude: [{steps: 20, domain: bo}]
"""


def grid(profile: str | None = None, *sets: str) -> Grid:
    return parse_grid(GRID, "g.yaml", sets, profile)


def test_the_first_profile_is_the_default_and_keeps_the_name() -> None:
    assert grid() == grid("tiny")
    assert (grid().name, grid("large").name) == ("g", "g-large")


def test_a_profile_s_settings_take_the_grid_s_place_whatever_section_they_stand_in() -> None:
    large = grid("large")
    assert {name: label(value) for name, value in large.fixed.items()} == {"attacks": "loss", "lr": 1e-6, "rank": 4, "guidance": 3}
    assert {name: len(values) for name, values in large.axes.items()} == {"method": 2, "domain": 2, "steps": 2}
    assert large.by_method == {"lora": {"lr": 5e-3, "sp_size": 5}, "none": {"sp_steps": 3}}
    assert large.zips == ({"seed": (5, 6, 7), "sp_seed": (0, 0, 0)},)
    assert [point["train_on"] for point in large.include] == [("members",), ("unrelated",)]
    assert len(large.exclude) == 1


def test_set_comes_after_the_profile() -> None:
    assert grid("large", "lr=0.5").fixed["lr"] == 0.5


def test_what_a_profile_got_wrong_is_told_in_its_line_even_when_another_is_taken() -> None:
    wrong = GRID.replace("steps: 20, domain: bo", "steps: twenty")
    line = wrong.splitlines().index("    exclude: [{steps: twenty}]") + 1
    for profile in ("tiny", "large"):
        with pytest.raises(GridError, match=rf'^g\.yaml:{line}: exclude\[0\]\.steps: got "twenty"'):
            parse_grid(wrong, "g.yaml", profile=profile)


def test_the_second_of_the_included_points_is_told_in_the_profile_s_line() -> None:
    wrong = GRID.replace("train_on: unrelated", "train_on: other")
    line = wrong.splitlines().index("    include: [{method: lora, train_on: other}]") + 1
    with pytest.raises(GridError, match=rf"^g\.yaml:{line}: include\[1\]\.train_on: "):
        parse_grid(wrong, "g.yaml", profile="large")


def test_an_unknown_profile_is_told_with_the_nearest() -> None:
    with pytest.raises(GridError) as caught:
        grid("larg")
    assert str(caught.value) == '--profile larg: unknown profile of g.yaml "larg"; allowed: tiny, large; did you mean "large"?'


def test_a_grid_without_profiles_has_none_to_ask_for() -> None:
    with pytest.raises(GridError, match="--profile tiny: g has no profiles; leave the option out"):
        parse_grid("name: g\naxes: {domain: [ada], method: [none]}", "g", profile="tiny")


def test_a_plan_s_document_is_planned_again_without_its_profiles() -> None:
    text = GRID.removeprefix("name: g\n")
    plan = plan_of(text, "domain=ada", profile="large")
    assert plan.grid == "g-large"
    assert "profiles" not in plan.document
    assert grid_of(plan.document, "again").name == "g-large"

    class Store:
        def grids(self) -> list[dict[str, object]]:
            return [{"grid": plan.grid, "document": plan.document}]

    (again,) = plans_of(Store(), inputs=StatedInputs())
    assert again.grid_key == plan.grid_key


def test_profiles_are_grids_of_their_own() -> None:
    text = GRID.removeprefix("name: g\n")
    assert plan_of(text).grid_key != plan_of(text, profile="large").grid_key
