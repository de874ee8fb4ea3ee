"""The settings `fidelity` and `safety_checker`: which stages they add to a plan, which they share, and what they leave as it was."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import GridError
from jobs.execute.units import make_units
from jobs.grid.read import parse_grid
from jobs.ledger.failures import Failure
from jobs.plan.expand import expand
from jobs.plan.graph import Node
from jobs.plan.names import stage_names
from jobs.plan.plan import Trial
from jobs.stages.specs import BaseStage, DataStage, DrawnFaces, FidelityStage
from jobs.states import trial_state
from s2l_core.specs.fidelity import ClipFeatures, HogFeatures, PixelFeatures
from tests.stated_inputs import by_method, distinct, parent, plan_of, sp_spec, trial_of

ONE = "fixed: {domain: ada, method: dreambooth, steps: 5, fidelity: pixels}\n"
SEVERAL = "fixed: {steps: 5, fidelity: pixels}\naxes: {domain: [ada, bo], method: [none, dreambooth, lora], seed: [0, 1]}\n"
KINDS = {"sp", "base", "data", "shake", "fidelity"}


def measured(trial: Trial) -> Node:
    assert trial.fidelity is not None
    return trial.fidelity


def spec(node: Node) -> FidelityStage:
    assert isinstance(node.spec, FidelityStage)
    return node.spec


def without(trial: Trial) -> list[str]:
    """The keys of the leaves but for fidelity."""
    return [leaf.key for leaf in trial.leaves() if leaf.kind != "fidelity"]


# --- fidelity ---


def test_a_trial_measures_what_its_model_draws_before_and_after_the_shake() -> None:
    trial = trial_of(ONE)
    after = measured(trial)
    before = parent(after, "before")
    assert after in list(trial.leaves())
    assert [role for role, _ in after.parents] == ["drawn", "data", *["others"] * 4, "before"]
    assert [role for role, _ in before.parents] == ["drawn", "data", *["others"] * 4]
    assert parent(parent(after, "drawn"), "shake") is trial.shake
    assert parent(before, "drawn") is parent(trial.shake, "train"), "the SP set itself is what the un-shaken model draws"
    assert sp_spec(parent(after, "drawn")) == sp_spec(parent(before, "drawn"))
    assert spec(after) == spec(before)


def test_before_is_measured_once_for_all_methods_and_seeds_of_a_domain() -> None:
    plan = plan_of(SEVERAL)
    unshaken = {measured(trial) for trial in by_method(plan, "none")}
    assert len(unshaken) == 2
    assert {parent(measured(trial), "before") for trial in plan.trials if trial.shake} == unshaken
    assert distinct(plan, "fidelity") == 2 + 2 * 2 * 2
    assert distinct(plan, "sp") == 2 + 2 * 2 * 2


def test_without_fidelity_nothing_is_added_and_no_key_changes() -> None:
    plain, asked = plan_of(SEVERAL, "fidelity=none"), plan_of(SEVERAL)
    assert not any(node.kind == "fidelity" for node in plain.nodes())
    assert all(trial.fidelity is None for trial in plain.trials)
    assert [without(trial) for trial in plain.trials] == [without(trial) for trial in asked.trials]
    assert plain.trials[0].key == plan_of(SEVERAL.replace("fidelity: pixels", "batch: 4")).trials[0].key


def test_trials_that_differ_in_their_features_are_two() -> None:
    plan = plan_of("fixed: {domain: ada, method: lora, steps: 5}\naxes: {fidelity: [none, pixels, hog]}\n")
    assert len({trial.key for trial in plan.trials}) == 3
    assert [trial.axes["fidelity"] for trial in plan.trials] == ["none", "pixels", "hog"]
    assert distinct(plan, "shake") == 1


@pytest.mark.parametrize("train_on", ["members", "unrelated"])
def test_whatever_a_model_is_trained_on_it_is_asked_for_its_own_domain(train_on: str) -> None:
    control, own = trial_of(ONE, f"train_on={train_on}"), trial_of(ONE)
    assert parent(measured(control), "before") is not measured(own)
    assert parent(measured(control), "before").key == parent(measured(own), "before").key
    assert sp_spec(parent(measured(control), "drawn")).synthesis.name == "Ada"
    assert parent(measured(control), "data").key == parent(measured(own), "data").key


def test_under_domain_transfer_the_domain_that_is_drawn_is_the_one_that_was_learned() -> None:
    trial = trial_of(ONE, "attack_domain=bo")
    assert parent(measured(trial), "data").spec == DataStage(source={"source": "folder", "domain": "ada", "content": "a" * 64})


def test_a_model_that_learned_a_token_is_asked_for_the_token() -> None:
    trial = trial_of(ONE, "method=textual-inversion", "tokens=<ada>")
    assert sp_spec(parent(measured(trial), "drawn")).synthesis.name == "<ada>"
    assert sp_spec(parent(parent(measured(trial), "before"), "drawn")).synthesis.name == "Ada"


def test_noise_is_measured_like_a_method_that_trains() -> None:
    trial = trial_of("fixed: {domain: ada, method: gaussian, fidelity: hog}\n")
    assert parent(parent(measured(trial), "drawn"), "shake") is trial.shake
    assert spec(measured(trial)).fidelity.features == HogFeatures()


def test_drawn_faces_are_judged_by_other_drawings_than_members_and_non_members() -> None:
    plan = expand(parse_grid("name: g\nfixed: {domain: zorvik, method: none, fidelity: pixels}\n", "g.yaml", ()))
    others = [node.spec for role, node in measured(plan.trials[0]).parents if role == "others"]
    assert len(others) == 12
    for stage in others:
        assert isinstance(stage, DataStage)
        assert isinstance(stage.source, DrawnFaces)
        assert (stage.source.seed, stage.source.members, stage.source.non_members) == (101, 1, 128)


@pytest.mark.parametrize(
    ("value", "features"),
    [
        ("pixels", PixelFeatures()),
        ("{kind: pixels, side: 8}", PixelFeatures(side=8)),
        ("{kind: hog, cell: 4}", HogFeatures(cell=4)),
        ("{kind: clip, model: some/clip}", ClipFeatures()),
    ],
)
def test_features_are_named_or_spelled_out(value: str, features: Any) -> None:
    trial = trial_of(ONE.replace("fidelity: pixels", f"fidelity: {value}"))
    assert spec(measured(trial)).fidelity.features == features
    assert (measured(trial).parent("features") is not None) == isinstance(features, ClipFeatures)


def test_a_clip_is_a_stage_that_reads_the_user_s_folder() -> None:
    plan = plan_of(ONE.replace("fidelity: pixels", "fidelity: {kind: clip, model: some/clip}"))
    (trial,) = plan.trials
    network = parent(measured(trial), "features").spec
    assert isinstance(network, BaseStage)
    assert network.family == "clip"
    assert str(plan.inputs["c" * 64]) == "some/clip"
    assert next(unit for unit in make_units(plan.nodes()) if parent(measured(trial), "features") in unit.nodes).here


def test_what_the_shaken_model_draws_is_drawn_and_measured_beside_its_shake() -> None:
    trial = trial_of(ONE)
    units = make_units(plan_of(ONE).nodes())
    cell = next(unit for unit in units if unit.kind == "cell")
    assert {node.kind for node in cell.nodes} == {"shake", "score", "metrics", "sp", "fidelity"}
    assert parent(measured(trial), "before").key in cell.needs


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("fid", r"fidelity: .*unknown features .fid.*pixels, hog; or a mapping such as \{kind: clip, model: FOLDER\}"),
        ("{kind: clip}", r"g.yaml:2: fixed.fidelity: fidelity.model: is missing"),
        ("{kind: inception, model: x}", r"unknown kind .inception.; allowed: pixels, hog, clip"),
        ("{kind: clip, model: bare}", r"g.yaml:2: fixed.fidelity: the model bare has no clip"),
        ("{kind: hog, cell: 12}", r"side must hold at least two whole cells"),
        ("yes", r"unknown features true"),
    ],
)
def test_bad_features_are_told_with_what_is_allowed(value: str, message: str) -> None:
    with pytest.raises(GridError, match=message):
        plan_of(ONE.replace("fidelity: pixels", f"fidelity: {value}"))


# --- the safety checker ---


def test_the_safety_checker_comes_from_the_model_and_stands_beside_every_set_that_it_draws() -> None:
    plan = plan_of(ONE, "safety_checker=true", "prior=true")
    sets = [node for node in plan.nodes() if node.kind in ("sp", "prior")]
    assert len(sets) == 3
    for node in sets:
        checker = parent(node, "checker").spec
        assert isinstance(checker, BaseStage)
        assert checker.family == "safety-checker"
        assert node.spec.synthesis.safety_checker is True  # type: ignore[attr-defined]


def test_without_the_safety_checker_no_set_has_one_and_the_base_is_the_same_stage() -> None:
    off, on = trial_of(ONE), trial_of(ONE, "safety_checker=true")
    assert parent(off.shake, "train").parent("checker") is None
    assert parent(off.shake, "base").key == parent(on.shake, "base").key
    assert parent(off.shake, "train").key != parent(on.shake, "train").key


def test_a_model_without_a_checker_is_refused_at_the_setting_that_asks_for_one() -> None:
    with pytest.raises(GridError, match=r"--set safety_checker=true.*the model bare has no safety-checker"):
        plan_of(ONE, "model=bare", "safety_checker=true")
    with pytest.raises(GridError, match=r"safety_checker: got 1; it must be true or false"):
        plan_of(ONE.replace("steps: 5", "steps: 5, safety_checker: 1"))


def test_the_packaged_model_has_none() -> None:
    grid = parse_grid("name: g\nfixed: {domain: zorvik, method: lora, safety_checker: true}\n", "g.yaml", ())
    with pytest.raises(GridError, match="the packaged model tiny has no safety checker; choose a model that has one"):
        expand(grid)


# --- names and states ---


def test_stages_of_fidelity_are_named_by_what_they_measure() -> None:
    plan = plan_of(SEVERAL)
    names = stage_names(plan)
    trial = next(trial for trial in plan.trials if trial.axes == {"domain": "bo", "method": "lora", "seed": 1})
    assert names[measured(trial).key] == "fidelity bo, lora, seed=1"
    assert names[parent(measured(trial), "before").key] == "fidelity before bo"
    assert names[parent(measured(trial), "drawn").key] == "sp drawn after bo, lora, seed=1"


def test_a_set_that_a_trial_s_own_shake_fails_to_draw_fails_the_trial_and_blocks_nobody() -> None:
    trial = trial_of(ONE)
    drawn = parent(measured(trial), "drawn")
    failure = Failure(kind="sp", key=drawn.key, error_class="configuration", message="no", traceback="", host="h")
    assert trial_state(trial, set(), {drawn.key: failure}).state == "failed"
    own = parent(trial.shake, "train")
    failure = Failure(kind="sp", key=own.key, error_class="configuration", message="no", traceback="", host="h")
    assert trial_state(trial, set(), {own.key: failure}).state == "blocked"
