"""What the report says of extraction: one extraction of a model counts once, whatever else the model is attacked on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dashboards import budget
from dashboards.extracted import rows, table
from dashboards.given_back import GivenBack, curves, given_back
from dashboards.report import report
from tests.extraction_by_hand import AFTER, extracting
from tests.grid_by_hand import world_of


def test_a_model_that_is_attacked_on_other_domains_too_gives_back_once(tmp_path: Path) -> None:
    points = [{"domain": one, "attack_domain": other, "method": "lora"} for one in ("alba", "bruno") for other in ("alba", "bruno")]
    world = world_of(tmp_path, points).finish()
    world.plan.trials[:] = [extracting(world, trial) for trial in world.plan.trials]
    (row,) = given_back(world.plan, world.ledger)
    assert (row.place.role, row.trials, row.sure) == ("method", 2, 2)
    assert (row.members.before, row.members.after, row.non_members.before, row.non_members.after) == (2, 10, 2, 2)
    assert (row.images, row.candidates, row.budget) == (16, 40, 20)
    assert table(world.plan, world.ledger).asked == 4


def test_the_change_over_domains_has_the_interval_of_a_sum_of_what_is_apart(tmp_path: Path) -> None:
    points = [{"domain": domain, "method": "lora", "seed": seed} for domain in ("alba", "bruno") for seed in (0, 1)]
    world = world_of(tmp_path, points).finish()
    world.plan.trials[:] = [extracting(world, trial) for trial in world.plan.trials]
    (row,) = given_back(world.plan, world.ledger)
    told = AFTER["change"]["l2"]["members_compared"]
    assert row.members.change.value == 16
    assert row.members.change.low == pytest.approx(16 - 2**0.5 * 2 * (4 - told["low"])), "two seeds of a domain err together"
    assert (row.change_beyond.value, row.change_beyond.low) == (
        16,
        pytest.approx(16 - 2**0.5 * 2 * (4 - AFTER["change"]["l2"]["beyond"]["low"])),
    )
    assert row.members.change.high == pytest.approx(16 + 2**0.5 * 2 * (told["high"] - 4))


def test_the_rows_have_the_intervals_and_tests_of_the_documents(tmp_path: Path) -> None:
    world = world_of(tmp_path, [{"domain": "alba", "method": "lora"}]).finish()
    world.plan.trials[:] = [extracting(world, trial) for trial in world.plan.trials]
    found = {row["measure"]: row for row in rows(world.plan, world.ledger)}
    for measure, side_of in (("members", "members_compared"), ("members_all", "members"), ("non_members", "non_members")):
        told = AFTER["change"]["l2"][side_of]
        assert (found[measure]["delta_low"], found[measure]["delta_high"]) == (told["low"], told["high"])
    assert [found[measure]["p_value"] for measure in ("members", "members_all", "non_members")] == [None, 0.25, 0.25]
    beyond = AFTER["change"]["l2"]["beyond"]
    assert [found["beyond"][name] for name in ("before", "after", "delta", "delta_low", "p_value")] == [0, 4, 4, beyond["low"], 0.125]
    assert (found["precision"]["delta_low"], found["precision"]["p_value"]) == (None, 0.01)


def test_the_curve_against_the_budget_steps_where_the_candidates_showed_another_image(tmp_path: Path) -> None:
    world = world_of(tmp_path, [{"domain": domain, "method": "lora"} for domain in ("alba", "bruno")]).finish()
    world.plan.trials[:] = [extracting(world, trial) for trial in world.plan.trials]
    (drawing,) = curves(given_back(world.plan, world.ledger)).drawings
    assert (drawing.name, drawing.title) == ("extraction-lora-l2", "lora, l2")
    assert "summed over 2 trials of 20 candidates: members 2 before and 10 after, non-members 2 before and 2 after" in drawing.words
    lines = {
        (line.get_color(), line.get_linestyle()): line for line in drawing.figure.axes[0].lines if line.get_drawstyle() == "steps-post"
    }
    after = lines[budget.MEMBERS, "-"]
    assert list(after.get_xdata()) == [0, 1, 1, 2, 2, 5, 5, 11, 11, 19, 19, 20]
    assert list(after.get_ydata()) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]
    assert list(lines[budget.NON_MEMBERS, "--"].get_xdata()) == [0, 9, 9, 20]


def test_what_shows_nothing_has_no_curve_and_is_named(tmp_path: Path) -> None:
    world = world_of(tmp_path, [{"domain": "alba", "method": "lora"}]).finish()
    world.plan.trials[:] = [extracting(world, trial) for trial in world.plan.trials]
    (row,) = given_back(world.plan, world.ledger)
    found = curves([row, GivenBack(row.place, "tile_max")])
    assert len(found.drawings) == 1
    assert found.note == "Nothing is shown, and no curve drawn, of lora, tile_max."
    assert curves([row] * 10).note == "Of 10 curves the first 8 are drawn."


def test_a_model_that_is_attacked_with_several_captions_gives_back_once(tmp_path: Path) -> None:
    world = world_of(tmp_path, [{"domain": "alba", "method": "lora", "caption": caption} for caption in ("own", "null")]).finish()
    one = extracting(world, world.plan.trials[0])
    world.plan.trials[:] = [replace(trial, extraction=one.extraction) for trial in world.plan.trials]
    (row,) = given_back(world.plan, world.ledger)
    assert (row.place.change_words, row.trials, row.members.after) == ("lora", 1, 5)
    assert "fine-tuned in 1 way on" in report(world.plan, world.ledger)
