"""Leakage beside utility: what the report, the status and a trial's page say of defences and of what a model still draws."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dashboards import show, status
from dashboards.defended import REFUSED_NEXT, defence_words
from dashboards.drawn import rows as fidelity_rows
from dashboards.groups import groups_of
from dashboards.report import report
from dashboards.results import cells
from dashboards.utility import MAX_TRIALS, Utility, utility
from jobs.keys import canonical_json
from jobs.plan.graph import Node
from jobs.plan.plan import Trial
from jobs.stages.specs import FidelityStage
from tests.grid_by_hand import World, world_of

REFUSED = "the set is refused: 8 of 8 images (100%) are nearer than 0.19 to one of 8 samples"
PROTECTS = "This epsilon protects the images that the model was fine-tuned on. It says nothing about those of the pre-training."
DP: dict[str, Any] = {"kind": "dp", "epsilon": 7.99, "delta": 1e-5, "noise_multiplier": 0.95, "protects": PROTECTS, "conditions": "If so."}


UNSHAKEN: dict[str, Any] = {"frechet": {"members": {"value": 125.0}, "non_members": {"value": 130.0}}}


def drawn(identity: float | None, *, pixels: float = 0.2) -> dict[str, Any]:
    """A fidelity document of a shaken model whose base shows the right person in every image."""
    change: dict[str, Any] = {
        "pairs": 8,
        "frechet": {"members": 100.0, "non_members": 90.0},
        "nearest_member_pixel_l2": {"before": 0.1, "after": pixels, "delta": pixels - 0.1, "low": 0.05, "high": 0.15},
        "nearest_member_feature_l2": {"before": 8.0, "after": 9.0, "delta": 1.0, "low": 0.5, "high": 1.5},
    }
    if identity is not None:
        change["right_identity"] = {"before": 1.0, "after": identity, "delta": identity - 1, "low": identity - 1.1, "high": identity - 0.9}
    sides = {"members": {"value": 225.0}, "non_members": {"value": 220.0}}
    return {"frechet": sides, "features": {"kind": "pixels"}, "n_rejected": None, "change": change, "images": {"id": []}}


def measured(world: World, trial: Trial, document: dict[str, Any]) -> Trial:
    """The trial with a committed measure of what its model draws."""
    data = next(node for role, node in trial.metrics["loss"].parents[0][1].parents if role == "data")
    assert trial.shake is not None
    unshaken: Node = world.graph.add(FidelityStage(), [("data", data)])
    if world.ledger.manifest("fidelity", unshaken.key) is None:
        world.commit(unshaken, "fidelity.json", canonical_json(UNSHAKEN).encode())
    fidelity: Node = world.graph.add(FidelityStage(), [("drawn", trial.shake), ("data", data), ("before", unshaken)])
    world.commit(fidelity, "fidelity.json", canonical_json(document).encode())
    return replace(trial, fidelity=fidelity)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two domains under no defence, dp and reject: undefended models forget, private ones do not, and one of two sets is refused."""
    points = [
        {"domain": domain, "method": "dreambooth", "defence": defence}
        for domain in ("alba", "bruno")
        for defence in ("none", "dp-eps8", "reject")
    ]
    made = world_of(tmp_path, points)
    shakes = {(trial.axes["domain"], trial.axes["defence"]): trial.shake for trial in made.plan.trials}
    for domain, epsilon in (("alba", 7.99), ("bruno", 7.2)):
        made.commit(shakes[domain, "dp-eps8"], "defence.json", canonical_json(DP | {"epsilon": epsilon}).encode())  # type: ignore[arg-type]
    let_through = {"kind": "reject", "share": 0.25}
    made.commit(shakes["bruno", "reject"], "defence.json", canonical_json(let_through).encode())  # type: ignore[arg-type]
    made.fail(shakes["alba", "reject"], "configuration", REFUSED)  # type: ignore[arg-type]
    made.finish(except_for=lambda trial: (trial.axes["domain"], trial.axes["defence"]) == ("alba", "reject"))
    shares = {"none": 0.5, "dp-eps8": 1.0}
    made.plan.trials[:] = [
        measured(made, trial, drawn(shares[trial.axes["defence"]] - 0.1 * (trial.axes["domain"] == "bruno")))
        if trial.axes["defence"] in shares
        else trial
        for trial in made.plan.trials
    ]
    return made


def table(world: World) -> Utility:
    groups = groups_of(world.plan, world.ledger, cells(world.plan, world.ledger))
    found = utility(world.plan, world.ledger, groups, status.status(world.plan, world.ledger)["failures"])
    assert found is not None
    return found


def words(page: str) -> str:
    """The text of the section."""
    section = page[page.index('id="utility"') :]
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", section[: section.index("</section>")]))


def test_each_way_has_its_leakage_and_what_it_still_draws(world: World) -> None:
    none, private, guarded = table(world).rows
    assert [row.variant for row in (none, private, guarded)] == [
        "dreambooth, defence = none",
        "dreambooth, defence = dp-eps8",
        "dreambooth, defence = reject",
    ]
    assert set(none.leakage) == {"loss", "secmi"}
    assert none.drawn is not None
    assert none.drawn.identity is not None
    assert (none.drawn.identity.before, none.drawn.identity.after) == (1.0, pytest.approx(0.45))
    assert none.drawn.identity.low is None, "a mean of trials has no interval"
    assert (none.drawn.frechet.before, none.drawn.frechet.after) == (125.0, 225.0)
    assert [one.identity.low for _, _, one in none.trials if one.identity] == [pytest.approx(-0.6), pytest.approx(-0.7)]
    assert private.drawn is not None
    assert guarded.drawn is None


def test_a_refused_set_is_counted_as_the_defence_s_success(world: World) -> None:
    guarded = table(world).rows[-1]
    assert (guarded.refused, guarded.asked) == (1, 2)
    assert "refused: 1 of 2 sets" in words(report(world.plan, world.ledger))
    text = status.text(world.plan, status.status(world.plan, world.ledger))
    assert REFUSED in text
    assert f"next: {REFUSED_NEXT}" in text
    assert "1 failed" in text, "it stays a trial without a result"


def test_another_failure_under_reject_is_no_refusal(tmp_path: Path) -> None:
    made = world_of(tmp_path, [{"domain": "alba", "method": "dreambooth", "defence": name} for name in ("none", "reject")])
    made.finish(except_for=lambda trial: trial.axes["defence"] == "reject")
    made.fail(made.plan.trials[1].shake, "oom", "no memory")  # type: ignore[arg-type]
    assert 'id="utility"' not in report(made.plan, made.ledger)


def test_every_epsilon_stands_with_what_it_protects(world: World) -> None:
    told = words(report(world.plan, world.ledger))
    assert "epsilon 7.2 to 7.99 at delta 1e-05, noise 0.95" in told
    assert f"{PROTECTS} If so." in told
    assert told.index(PROTECTS) < told.index("epsilon 7.2")


def test_the_report_shows_intervals_of_single_trials_and_none_of_means(world: World) -> None:
    told = words(report(world.plan, world.ledger))
    mean, every = told.split("Every trial")
    assert "drawing: mean of 2 trials" in mean
    assert "1.000 → 0.450 −0.550 0.100" in mean
    assert "1.000 → 0.500 −0.500 −0.600 to −0.400" in every
    assert "125 → 225" in every


def test_without_a_judge_there_is_no_column_of_persons(tmp_path: Path) -> None:
    made = world_of(tmp_path, [{"domain": "alba", "method": "dreambooth"}]).finish()
    made.plan.trials[:] = [measured(made, trial, drawn(None)) for trial in made.plan.trials]
    told = words(report(made.plan, made.ledger))
    assert "right person Before" not in told
    assert "shows the right person" not in told
    assert "0.100 → 0.200" in told


def test_a_grid_without_fidelity_and_defences_has_no_such_section(quiet: Any) -> None:
    assert 'id="utility"' not in report(quiet.plan, quiet.ledger)


def test_very_many_trials_are_cut_and_the_report_says_so(tmp_path: Path) -> None:
    points = [{"domain": "alba", "method": "dreambooth", "seed": seed} for seed in range(MAX_TRIALS + 3)]
    made = world_of(tmp_path, points, attacks=("loss",))
    made.plan.trials[:] = [measured(made, trial, drawn(0.5)) for trial in made.plan.trials]
    found = table(made)
    assert (len(found.rows[0].trials), found.left_out) == (MAX_TRIALS, 3)


def test_a_trial_shows_the_facts_of_its_defence(world: World) -> None:
    trial = next(trial for trial in world.plan.trials if trial.axes["defence"] == "dp-eps8")
    found = show.show(world.plan, world.ledger, trial.key)
    assert found["defence"] == DP
    text = show.text(found)
    assert f"defence dp: epsilon 7.99 at delta 1e-05, noise 0.95\n  {PROTECTS} If so.\n" in text
    plain = next(trial for trial in world.plan.trials if trial.axes["defence"] == "none")
    assert show.show(world.plan, world.ledger, plain.key)["defence"] is None
    refused = next(trial for trial in world.plan.trials if trial.axes["defence"] == "reject")
    assert f"next: {REFUSED_NEXT}" in show.text(show.show(world.plan, world.ledger, refused.key))


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"kind": "clip-noise", "noise_multiplier": 1.0, "epsilon": None}, "noise 1, no epsilon"),
        ({"kind": "l2-to-base", "weight": 0.01, "distance": 0.12345}, "L2 0.123 from the base"),
        ({"kind": "early-stopping", "kept_step": 20, "steps": 50}, "weights after step 20 kept, of 50 done"),
        ({"kind": "mix", "public_images": 256}, "mixed with 256 public images"),
        ({"kind": "reject", "share": 0.25}, "let through: 0.25 of the set near own samples"),
    ],
)
def test_every_defence_says_what_it_did(facts: dict[str, Any], told: str) -> None:
    assert defence_words([facts]) == told
    assert defence_words([]) == ""


def test_images_that_a_safety_checker_rejected_are_counted_in_the_report_and_at_the_trial(tmp_path: Path) -> None:
    made = world_of(tmp_path, [{"domain": domain, "method": "dreambooth"} for domain in ("alba", "bruno")])
    for trial, count in zip(made.plan.trials, (2, 1), strict=True):
        drawn_set = trial.shake and trial.shake.parent("train")
        assert drawn_set is not None
        made.commit(
            drawn_set, "rejected.json", canonical_json({"asked": 64, "kept": 64 - count, "rejected": [{"index": 0}] * count}).encode()
        )
    made.finish()
    assert "drawn images rejected by the safety checker 3 of 128" in re.sub(r"(<[^>]+>|\s)+", " ", report(made.plan, made.ledger))
    assert "2 of 64 images rejected by the safety checker" in show.text(show.show(made.plan, made.ledger, made.plan.trials[0].key))
    without = world_of(tmp_path / "off", [{"domain": "alba", "method": "dreambooth"}]).finish()
    assert "rejected" not in report(without.plan, without.ledger)


def test_a_frechet_distance_before_is_the_one_that_was_measured_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After minus the difference is another float."""
    world = world_of(tmp_path, [{"domain": "alba", "method": "dreambooth"}])
    old, new = {"members": 0.1, "non_members": 1e-9}, {"members": 225.3, "non_members": 1e9}
    assert all(new[side] - (new[side] - old[side]) != old[side] for side in old)
    monkeypatch.setitem(UNSHAKEN, "frechet", {side: {"value": value} for side, value in old.items()})
    document = drawn(None)
    document["frechet"] = {side: {"value": value} for side, value in new.items()}
    document["change"]["frechet"] = {side: new[side] - old[side] for side in old}
    world.plan.trials[:] = [measured(world, world.plan.trials[0], document)]
    rows = {row["measure"]: row for row in fidelity_rows(world.plan, world.ledger)}
    for side in old:
        row = rows[f"frechet.{side}"]
        assert (row["before"], row["after"], row["delta"]) == (old[side], new[side], new[side] - old[side])
    found = utility(world.plan, world.ledger, groups_of(world.plan, world.ledger, []), [])
    assert found is not None
    assert found.rows[0].drawn is not None
    assert found.rows[0].drawn.frechet is not None
    assert found.rows[0].drawn.frechet.before == 0.1


def test_a_trial_without_a_before_has_no_rows(tmp_path: Path) -> None:
    world = world_of(tmp_path, [{"domain": "alba", "method": "dreambooth"}])
    trial = measured(world, world.plan.trials[0], drawn(None))
    assert trial.fidelity is not None
    world.plan.trials[:] = [replace(trial, fidelity=world.graph.add(FidelityStage(), trial.fidelity.parents[:2]))]
    assert fidelity_rows(world.plan, world.ledger) == []
