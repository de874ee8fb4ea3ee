"""Controls as rows: each is judged, attack by attack, and one that a grid does not have is told as not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dashboards import controls_table, tables
from dashboards.controls_table import EXPECTED
from tests.grid_by_hand import World, effect_of, world_of

Rows = list[dict[str, Any]]


def rows_of(world: World, control: str) -> Rows:
    return [row for row in controls_table.table(world.plan, world.ledger).rows if row["control"] == control]


def with_unrelated(folder: Path, *, rise: float) -> World:
    point = {"method": "dreambooth", "rank": None, "train_on": "unrelated", "seed": 0}
    points = [point | {"domain": f"d{number}"} for number in range(6)]
    return world_of(folder, points, effect_of(unrelated=rise)).finish()


def test_every_control_has_a_row_for_each_attack_it_was_done_with(quiet: World) -> None:
    attacks = sorted({attack for trial in quiet.plan.trials for attack in trial.metrics})
    for control in ("no fine-tuning", "positive control", "shuffled labels"):
        rows = rows_of(quiet, control)
        assert sorted(row["attack"] for row in rows) == attacks
        assert {row["did"] for row in rows} == {"yes"}
        assert {row["domains"] for row in rows} == {3}
    assert [row["delta"] for row in rows_of(quiet, "no fine-tuning")] == [0.0] * len(attacks)


def test_a_control_that_the_grid_lacks_is_a_row_that_says_so(quiet: World) -> None:
    for control in ("unrelated pictures", "noise of equal size"):
        (row,) = rows_of(quiet, control)
        assert (row["did"], row["attack"], row["before"], row["comparisons"]) == ("not there", "", None, None)
        assert row["should"] == "does not rise"


@pytest.mark.parametrize(("world", "did", "against"), [("quiet", "yes", 0), ("loud", "no", 3)])
def test_the_blind_baseline_should_not_separate(world: str, did: str, against: int, request: pytest.FixtureRequest) -> None:
    (row,) = rows_of(request.getfixturevalue(world), "blind baseline")
    assert (row["did"], row["against"], row["comparisons"]) == (did, against, 3)


@pytest.mark.parametrize(("rise", "did"), [(0.0, "yes"), (0.9, "no")])
def test_an_unrelated_set_should_not_make_an_attack_better(tmp_path: Path, rise: float, did: str) -> None:
    rows = rows_of(with_unrelated(tmp_path, rise=rise), "unrelated pictures")
    assert rows
    assert {row["did"] for row in rows} == {did}
    assert all((row["against"] > 2) == (did == "no") for row in rows)


def test_a_positive_control_that_does_not_move_is_told(make_world: Any) -> None:
    still = make_world(sp=0.0, members=0.0).finish()
    rows = rows_of(still, "positive control")
    assert {row["did"] for row in rows} == {"no"}
    assert all(row["against"] >= row["comparisons"] - 1 for row in rows)


def test_nothing_is_claimed_before_anything_is_done(make_world: Any) -> None:
    empty = make_world()
    found = controls_table.table(empty.plan, empty.ledger)
    assert [row["did"] for row in found.rows] == ["not there"] * (len(EXPECTED) + 2)
    assert found.missing == len(empty.plan.trials)


def test_all_formats_hold_the_same_rows(quiet: World) -> None:
    found = controls_table.table(quiet.plan, quiet.ledger)
    assert json.loads(tables.write(found, "json")) == list(found.rows)
    for form, extra in (("markdown", 2), ("csv", 1), ("table", 1)):
        assert tables.write(found, form).decode().count("\n") == len(found.rows) + extra, form
    assert r"positive control & dreambooth" in tables.write(found, "latex").decode()
