"""`s2l plan --power`: its statements are about the tests that the report makes, and come without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dashboards.groups import groups_of
from dashboards.methods import domain_tests
from dashboards.power import power, text
from dashboards.results import cells
from jobs.cli.main import s2l
from jobs.plan.sizes import sizes_of
from s2l_core.metrics.power import detectable_change
from tests.grid_by_hand import world_of
from tests.orl_folder import build_orl_folder, orl_source

GRID = "name: g\nfixed: {steps: 4, attacks: [loss, pia]}\naxes: {domain: [zorvik, mellune], method: [none, lora, gaussian]}\n"


def planned(tmp_path: Path, grid: str, *args: str) -> Any:
    path = tmp_path / "g.yaml"
    path.write_text(grid)
    done = CliRunner().invoke(s2l, ["plan", str(path), "--power", "--store", str(tmp_path / "store"), *args])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in args else done.stdout


def test_the_family_of_tests_is_the_one_that_the_report_corrects_for(many: Any) -> None:
    over = power(many.plan, {})["over_domains"]
    tests = domain_tests(groups_of(many.plan, many.ledger, cells(many.plan, many.ledger)))
    assert (over["domains"], over["tests"]) == (12, len(tests.p))
    assert over["smallest_corrected_p"] == pytest.approx(tests.smallest)


def test_too_few_domains_are_told_with_how_many_it_takes(tmp_path: Path) -> None:
    ways = [{"method": method, "seed": 0} for method in ("none", "lora", "dreambooth")]
    world = world_of(tmp_path, [{"domain": domain} | way for domain in ("alba", "bruno", "carla") for way in ways])
    found = power(world.plan, {"alba": (64, 128)})
    over = found["over_domains"]
    assert (over["tests"], over["smallest_corrected_p"], over["can_reject"], over["domains_needed"]) == (4, 1.0, False, 8)
    assert "Over 3 domains nothing is tested: a signed-rank test takes 6 at least, and 8 to reject at 5 % after Holm" in text(found)
    more = [{"domain": f"d{number}"} | way for number in range(6) for way in ways]
    assert "no test can reject at 5 %; it takes 8 domains, or fewer" in text(power(world_of(tmp_path / "six", more).plan, {}))


def test_the_table_and_the_document_hold_the_same_numbers(tmp_path: Path) -> None:
    document = planned(tmp_path, GRID, "--json")["power"]
    (row,) = document["by_size"]
    assert (row["members"], row["non_members"], row["domains"]) == (64, 128, 2)
    assert row["detectable_auc_change"]["0.9"] == pytest.approx(detectable_change(64, 128, correlation=0.9))
    shown = planned(tmp_path, GRID)
    assert all(f"{change:.3f}" in shown for change in row["detectable_auc_change"].values())
    assert "for 4 pairs of method and attack" in shown
    assert not (tmp_path / "store").exists(), "nothing is written"


def test_the_mean_over_domains_is_told_for_the_size_that_is_known_least(tmp_path: Path) -> None:
    world = world_of(tmp_path, [{"domain": domain, "method": "lora"} for domain in ("alba", "bruno")])
    found = power(world.plan, {"alba": (50, 5000), "bruno": (60, 60)})["over_domains"]["detectable_auc_change"]
    assert found == power(world.plan, {"alba": (60, 60), "bruno": (60, 60)})["over_domains"]["detectable_auc_change"]


def test_an_attack_that_learns_is_told_to_score_fewer_images(tmp_path: Path) -> None:
    document = planned(tmp_path, GRID.replace("[loss, pia]", "[loss, secmi_nns]"), "--json")["power"]
    assert document["calibrated"] == {"secmi_nns": 0.5}
    assert "secmi_nns scores 50 % of the images, those that it did not learn from" in planned(
        tmp_path, GRID.replace("[loss, pia]", "[secmi_nns]")
    )


def test_an_attack_that_may_come_to_learn_is_told_to_score_fewer_images_then(tmp_path: Path) -> None:
    choice = "{kind: choose, among: [secmi, secmi_nns], on: [yivvek]}"
    text = planned(tmp_path, GRID.replace("[loss, pia]", f"[loss, {choice}]"))
    assert "chosen (where it comes to secmi_nns) scores 50 % of the images, those that it did not learn from" in text


def test_without_a_method_there_is_no_test(tmp_path: Path) -> None:
    assert "No method of this grid is tested over domains" in planned(tmp_path, GRID.replace("none, lora, gaussian", "none"))


def test_a_folder_of_photographs_is_counted_and_stand_ins_are_not(tmp_path: Path) -> None:
    if orl_source() is None:
        pytest.skip("the ORL photographs are not here (../shared/data/orl_faces)")
    folder = build_orl_folder(tmp_path / "orl", people=["s1", "s2"])
    grid = f"name: g\nfixed: {{data: {folder}, steps: 4, attacks: [loss]}}\naxes: {{domain: [all], method: [none, lora]}}\n"
    (row,) = planned(tmp_path, grid, "--json")["power"]["by_size"]
    assert (row["members"], row["non_members"], row["domains"]) == (5, 5, 2)
    to_give = planned(tmp_path, grid.replace(str(folder), "to-be-given:people"))
    assert "unknown: the data set is yet to be given" in to_give


def test_sizes_are_those_of_the_attacked_domain(tmp_path: Path) -> None:
    from tests.stated_inputs import plan_of

    plan = plan_of("fixed: {method: lora, steps: 4, attacks: [loss]}\naxes: {domain: [ada, bo]}")
    assert sizes_of(plan) == {}, "a folder that is not here is of unknown size"
