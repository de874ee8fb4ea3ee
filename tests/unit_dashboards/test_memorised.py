"""Which domains the model knows: the rows, the order for people, and what the report says, before and after."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dashboards import memorised, tables
from dashboards.known import known
from dashboards.report import report
from dashboards.results import cells
from jobs.keys import canonical_json
from jobs.stages.specs import MemorisationStage
from tests.grid_by_hand import PLANTED, World, world_of
from tests.known_by_hand import DOMAINS, SCORES, asking, document


@pytest.fixture
def world(tmp_path: Path) -> World:
    points = [{"domain": domain, "method": method} for domain in DOMAINS for method in ("none", "lora")]
    made = world_of(tmp_path, points).finish()
    made.plan.trials[:] = [asking(made, trial, SCORES[trial.axes["domain"]]) for trial in made.plan.trials]
    return made


def words(page: str) -> str:
    (section,) = re.findall(r'<section aria-labelledby="known">.*?</section>', page, re.DOTALL)
    return re.sub(r"(<[^>]+>|\s)+", " ", section)


def test_every_trial_has_a_row_a_measure_before_and_after(world: World) -> None:
    rows = memorised.rows(world.plan, world.ledger)
    assert len(rows) == 12 * 4
    assert list(rows[0]) == memorised.columns(world.plan)
    assert [row["trial_key"] for row in rows] == sorted(row["trial_key"] for row in rows)
    at = {(row["domain"], row["method"], row["measure"]): row for row in rows}
    shaken, unshaken = at["alba", "lora", "score"], at["alba", "none", "score"]
    assert (shaken["before"], shaken["after"], shaken["delta"]) == (0.5, 0.75, 0.25)
    assert (unshaken["before"], unshaken["after"], unshaken["delta"]) == (0.5, 0.5, 0.0)
    assert (at["alba", "lora", "rank"]["before"], at["alba", "lora", "rank"]["after"]) == (3, 2)
    assert at["alba", "lora", "ratio"]["after"] == pytest.approx(0.75 / 0.45)
    assert {row["n_controls"] for row in rows} == {5}


def test_the_table_for_people_begins_with_the_highest_score_and_the_others_are_sorted_by_trial(world: World) -> None:
    found = memorised.table(world.plan, world.ledger)
    assert (found.asked, found.missing) == (12, 0)
    lines = tables.write(found, "table").decode().splitlines()[1:]
    after = [float(line.split()[5]) for line in lines if " score " in line]
    assert after == sorted(after, reverse=True)
    assert len(after) == 12
    assert json.loads(tables.write(found, "json")) == memorised.rows(world.plan, world.ledger)
    for form in ("csv", "markdown", "latex", "parquet"):
        assert b"control" in tables.write(found, form)


def test_a_score_without_controls_that_say_anything_has_no_ratio(tmp_path: Path) -> None:
    world = world_of(tmp_path, [{"domain": "alba", "method": "none"}]).finish()
    (trial,) = world.plan.trials
    base = next(node for role, node in trial.metrics["loss"].parents[0][1].parents if role == "base")
    node = world.graph.add(MemorisationStage(name="alba"), [("base", base)])
    world.commit(node, memorised.FILE, canonical_json(document(0.0) | {"ratio": None, "control_mean": 0.0}).encode())
    world.plan.trials[:] = [replace(trial, memorisation=node)]
    row = next(row for row in memorised.rows(world.plan, world.ledger) if row["measure"] == "ratio")
    assert (row["before"], row["after"], row["delta"]) == (None, None, None)
    assert "alba" in words(report(world.plan, world.ledger))


def test_a_trial_that_is_not_asked_yet_is_counted_as_missing(world: World) -> None:
    trial = world.plan.trials[1]
    assert trial.memorisation is not None
    spec = MemorisationStage(name="nobody yet")
    world.plan.trials[1] = replace(trial, memorisation=world.graph.add(spec, trial.memorisation.parents))
    assert memorised.table(world.plan, world.ledger).missing == 1


def test_the_report_lists_domains_by_score_with_what_attacks_find_and_how_far_they_agree(world: World) -> None:
    found = known(world.plan, world.ledger, cells(world.plan, world.ledger))
    assert found is not None
    assert [one.domain for one in found.domains] == list(reversed(DOMAINS))
    assert [one.rank for one in found.domains] == [1, 1, 2, 2, 3, 3]
    assert {attack for one in found.domains for attack in one.aucs} == set(found.attacks)
    by_attack = {one.attack: one for one in found.agreements}
    assert by_attack["loss"].domains == 6
    assert -1 <= by_attack["loss"].rho <= 1
    (way,) = found.ways
    assert way.mean.score == (pytest.approx(0.75), pytest.approx(1.0))
    assert [domain for _, domain, _ in way.trials] == list(DOMAINS)
    text = words(report(world.plan, world.ledger))
    assert f"{found.above} of 6 names stand above every invented one" in text
    assert "proves nothing of any image" in text
    assert text.index("fosca") < text.index("alba")
    assert "0.750 → 1.000" in text


def test_fewer_domains_than_six_have_no_rank_correlation(tmp_path: Path) -> None:
    world = world_of(tmp_path, [{"domain": domain, "method": "none"} for domain in DOMAINS[:5]]).finish()
    world.plan.trials[:] = [asking(world, trial, SCORES[trial.axes["domain"]]) for trial in world.plan.trials]
    found = known(world.plan, world.ledger, cells(world.plan, world.ledger))
    assert found is not None
    assert (found.agreements, found.ways) == ([], [])
    assert "Rank correlation" not in words(report(world.plan, world.ledger))


def test_a_perfect_order_is_told_as_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import dashboards.known as module

    auc = {domain: {"loss": score / 2} for domain, score in SCORES.items()}
    keys = {trial.key: auc[trial.axes["domain"]] for trial in world.plan.trials}
    monkeypatch.setattr(module, "_aucs", lambda found: keys)
    found = known(world.plan, world.ledger, [])
    assert found is not None
    assert [(one.attack, pytest.approx(one.rho), one.domains) for one in found.agreements] == [("loss", 1.0, 6)]
    assert found.agreements[0].p_value > 0.001, "of six domains one order in 360 is as extreme"


def test_under_domain_transfer_a_way_is_asked_once_about_its_own_domain(tmp_path: Path) -> None:
    points = [{"domain": one, "attack_domain": other, "method": "lora"} for one in DOMAINS[:2] for other in DOMAINS[:2]]
    world = world_of(tmp_path, points).finish()
    world.plan.trials[:] = [asking(world, trial, SCORES[trial.axes["domain"]]) for trial in world.plan.trials]
    found = known(world.plan, world.ledger, cells(world.plan, world.ledger))
    assert found is not None
    assert len(found.domains) == 2
    assert [len(way.trials) for way in found.ways] == [2]
    assert len({one.aucs["loss"] for one in found.domains}) == 2, "each domain's own AUC, not that of the other"


def test_nothing_is_said_where_nothing_is_asked_and_names_are_no_markup(quiet: World, tmp_path: Path) -> None:
    assert known(quiet.plan, quiet.ledger, []) is None
    assert "Which domains does the model know" not in report(quiet.plan, quiet.ledger)
    world = world_of(tmp_path, [{"domain": domain, "method": "none"} for domain in PLANTED]).finish()
    world.plan.trials[:] = [asking(world, trial, 0.7) for trial in world.plan.trials]
    assert "<script>" not in report(world.plan, world.ledger)
