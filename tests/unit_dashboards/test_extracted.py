"""What the report says of extraction: one extraction of a model counts once, whatever else the model is attacked on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dashboards import budget
from dashboards.extracted import rows, table
from dashboards.given_back import GivenBack, curves, given_back
from jobs.graph import Node
from jobs.keys import canonical_json
from jobs.plan import Trial
from jobs.stages.specs import ExtractStage
from s2l_core.extraction.intervals import Counted, change_interval, images_interval
from s2l_core.specs.extraction import ExtractionSpec
from s2l_core.specs.fidelity import PixelFeatures
from tests.grid_by_hand import World, world_of


def side(found_at: list[int]) -> dict[str, Any]:
    found = images_interval(len(found_at), len(found_at), 0, out_of=9)
    return {"images": len(found_at), "found_at": found_at, "low": found.low, "high": found.high}


def document(members: list[int], non_members: list[int], p_value: float | None = None) -> dict[str, Any]:
    precision = {"members": len(members), "non_members": len(non_members), "value": 0.5, "p_value": p_value}
    sides = {"members": side([*members, 20]), "members_compared": side(members), "non_members": side(non_members)}
    rule = {**sides, "precision": precision}
    retrieval = {"value": 0.5, "p_value": 1.0}
    spec = {"candidates": 20}
    return {"rules": {"l2": rule}, "compared": 8, "n_member": 9, "n_candidates": 20, "retrieval": retrieval, "spec": spec}


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    told = {}
    for name in ("members", "members_compared", "non_members"):
        old, new = (Counted(one["images"], one["low"], one["high"]) for one in (found["rules"]["l2"][name] for found in (before, after)))
        change = change_interval(old, new)
        told[name] = {"before": int(old.value), "after": int(new.value), "delta": int(change.value), "low": change.low, "high": change.high}
        told[name] |= {"p_value": 0.25}
    return after | {"change": {"l2": told}}


BEFORE = document([7], [9])
AFTER = changed(BEFORE, document([1, 2, 5, 11, 19], [3], 0.01))


def extracting(world: World, trial: Trial) -> Trial:
    """The trial with what its domain's model gives back, before and after; trials of one model share it."""
    assert trial.shake is not None
    base, data = (next(node for role, node in trial.shake.parents if role == "base"), world.graph)
    spec = ExtractStage(extraction=ExtractionSpec(features=PixelFeatures()))
    before: Node = data.add(spec, [("drawn", base)])
    after: Node = data.add(spec, [("drawn", trial.shake), ("before", before)])
    for node, found in ((before, BEFORE), (after, AFTER)):
        if world.ledger.manifest(node.kind, node.key) is None:
            world.commit(node, "extraction.json", canonical_json(found).encode())
    return replace(trial, extraction=after)


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
    assert row.members.change.high == pytest.approx(16 + 2**0.5 * 2 * (told["high"] - 4))


def test_the_rows_have_the_intervals_and_tests_of_the_documents(tmp_path: Path) -> None:
    world = world_of(tmp_path, [{"domain": "alba", "method": "lora"}]).finish()
    world.plan.trials[:] = [extracting(world, trial) for trial in world.plan.trials]
    found = {row["measure"]: row for row in rows(world.plan, world.ledger)}
    for measure, side_of in (("members", "members_compared"), ("members_all", "members"), ("non_members", "non_members")):
        told = AFTER["change"]["l2"][side_of]
        assert (found[measure]["delta_low"], found[measure]["delta_high"]) == (told["low"], told["high"])
    assert [found[measure]["p_value"] for measure in ("members", "members_all", "non_members")] == [None, 0.25, 0.25]
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
