"""Automatic captions in a plan: which stages they add, who shares them, and what they leave as it was."""

from __future__ import annotations

import pytest

from jobs.errors import GridError
from jobs.execute.units import make_units
from jobs.ledger.failures import Failure
from jobs.plan.graph import Node
from jobs.plan.names import stage_names
from jobs.stages.specs import BaseStage, CaptionsStage
from jobs.states import trial_state
from s2l_core.specs.captioners import BlipCaptioner, ColoursCaptioner
from s2l_core.specs.captions import AutomaticCaption
from tests.stated_inputs import after, before, by_method, distinct, parent, plan_of, score_spec, trial_of

COLOURS = "{kind: automatic, captioner: colours}"
BLIP = "{kind: automatic, captioner: {kind: blip, model: some/blip}}"
SEVERAL = "fixed: {steps: 5, attacks: [loss, secmi]}\naxes: {domain: [ada, bo], method: [none, lora, dreambooth], seed: [0, 1]"
OLD = "own, domain, 'null'"


def captions_spec(node: Node) -> CaptionsStage:
    assert isinstance(node.spec, CaptionsStage)
    return node.spec


def test_a_score_has_the_captions_beside_model_and_data_before_and_after() -> None:
    trial = trial_of(f"fixed: {{domain: ada, method: lora, steps: 5, attacks: [loss], caption: {COLOURS}}}")
    assert [role for role, _ in after(trial, "loss").parents] == ["base", "shake", "data", "captions"]
    assert [role for role, _ in before(trial, "loss").parents] == ["base", "data", "captions"]
    captions = parent(after(trial, "loss"), "captions")
    assert captions is parent(before(trial, "loss"), "captions")
    assert captions_spec(captions).captioner == ColoursCaptioner()
    assert captions.parents == (("data", parent(after(trial, "loss"), "data")),)
    assert score_spec(after(trial, "loss")).caption == score_spec(before(trial, "loss")).caption == AutomaticCaption()


def test_images_are_captioned_once_for_each_captioner_whatever_is_attacked() -> None:
    plan = plan_of(f"{SEVERAL}, caption: [own, {COLOURS}, {BLIP}]}}")
    assert distinct(plan, "captions") == 2 * 2
    assert distinct(plan, "shake") == 2 * 2 * 2, "captions of attacks are no part of a shake"


def test_a_captioner_with_weights_is_a_stage_that_reads_the_user_s_folder() -> None:
    plan = plan_of(f"fixed: {{domain: ada, method: none, caption: {BLIP}}}")
    captions = parent(after(plan.trials[0], "loss"), "captions")
    assert captions_spec(captions).captioner == BlipCaptioner()
    network = parent(captions, "captioner")
    assert isinstance(network.spec, BaseStage)
    assert network.spec.family == "captioner"
    assert str(plan.inputs["c" * 64]) == "some/blip"
    assert next(unit for unit in make_units(plan.nodes()) if network in unit.nodes).here


def test_an_axis_over_captions_re_keys_nothing_that_was_there() -> None:
    without, within = plan_of(f"{SEVERAL}, caption: [{OLD}]}}"), plan_of(f"{SEVERAL}, caption: [{OLD}, {COLOURS}]}}")
    plain = plan_of(f"{SEVERAL}}}")
    assert {node.key for node in plain.nodes()} <= {node.key for node in without.nodes()} < {node.key for node in within.nodes()}
    assert {trial.key for trial in plain.trials} <= {trial.key for trial in without.trials} < {trial.key for trial in within.trials}


def test_rows_with_different_captions_are_pooled_apart_and_labels_are_short() -> None:
    plan = plan_of(f"{SEVERAL}, caption: [{OLD}, {COLOURS}, {BLIP}]}}")
    labels = ["own", "domain", "null", "automatic colours", 'automatic blip(model="some/blip")']
    assert plan.axes["caption"] == labels
    pools = [pool for pool in plan.pools if pool.axes["method"] == "lora" and pool.attack == "loss"]
    assert [pool.axes["caption"] for pool in pools] == labels
    of = {trial.key: trial.axes["caption"] for trial in plan.trials}
    assert all({of[key] for key in pool.trials} == {pool.axes["caption"]} for pool in plan.pools)


@pytest.mark.parametrize(
    ("given", "label", "captioner"),
    [
        ("colours", "automatic colours", ColoursCaptioner()),
        ("{kind: colours, most: 3}", "automatic colours", ColoursCaptioner()),
        ("{kind: colours, most: 1}", "automatic colours(most=1)", ColoursCaptioner(most=1)),
        ("{kind: blip, model: b, beams: 1}", 'automatic blip(beams=1,model="b")', BlipCaptioner(beams=1)),
        ("{kind: blip, model: b, prompt: ''}", 'automatic blip(model="b",prompt="")', BlipCaptioner(prompt="")),
        ("{kind: blip, model: 'to-be-given:sd-v1-1'}", 'automatic blip(model="to-be-given:sd-v1-1")', BlipCaptioner()),
    ],
)
def test_a_captioner_is_named_or_spelled_out(given: str, label: str, captioner: object) -> None:
    trial = trial_of(f"fixed: {{domain: ada, method: none}}\naxes: {{caption: [{{kind: automatic, captioner: {given}}}]}}")
    assert trial.axes == {"caption": label}
    assert captions_spec(parent(after(trial, "loss"), "captions")).captioner == captioner


def test_a_captioner_that_is_not_there_is_told_where_the_grid_asks_for_it() -> None:
    with pytest.raises(GridError, match=r"g.yaml:2: fixed.caption: the model bare has no captioner"):
        plan_of("fixed: {domain: ada, method: none, caption: {kind: automatic, captioner: {kind: blip, model: bare}}}")


def test_attacks_with_the_same_captions_share_a_unit_and_others_do_not() -> None:
    plan = plan_of(f"fixed: {{domain: ada, method: none, attacks: [loss, secmi, clid]}}\naxes: {{caption: [own, {COLOURS}, {BLIP}]}}")
    units = [unit for unit in make_units(plan.nodes()) if any(node.kind == "score" for node in unit.nodes)]
    assert [sum(node.kind == "score" for node in unit.nodes) for unit in units] == [3, 3, 3]
    for unit in units:
        assert len({node.parents for node in unit.nodes if node.kind == "score"}) == 1


def test_after_a_shake_the_attacks_of_each_caption_stay_in_the_shake_s_cell() -> None:
    plan = plan_of(f"fixed: {{domain: ada, method: lora, steps: 5, attacks: [loss, secmi]}}\naxes: {{caption: [own, {COLOURS}]}}")
    (cell,) = [unit for unit in make_units(plan.nodes()) if unit.kind == "cell"]
    assert sum(node.kind == "score" for node in cell.nodes) == 4
    assert parent(after(plan.trials[1], "loss"), "captions").key in cell.needs, "captions are made once, before"


def test_a_trained_token_stands_in_no_automatic_caption_and_the_plan_says_so() -> None:
    text = "fixed: {domain: ada, attacks: [loss], steps: 5}\naxes: {method: [none, textual-inversion, lora], caption: [own, CAPTION]}"
    plan = plan_of(text.replace("CAPTION", COLOURS))
    own, automatic = by_method(plan, "textual-inversion")
    assert list(own.metrics) == ["loss", "loss@own-caption"]
    assert list(automatic.metrics) == ["loss"]
    assert score_spec(after(automatic, "loss")).caption == AutomaticCaption()
    (notice,) = plan.notices
    assert notice == (
        "caption=automatic colours shows no name whose place the trained token <s2l> could take: what only the token learned cannot be "
        "seen, and where nothing else is trained after equals before; attack with `own` or `domain` to see it"
    )
    assert [notice.split()[0] for notice in plan_of(text.replace("CAPTION", "'null'")).notices] == ["caption=null"]
    assert plan_of(text.replace("CAPTION", "domain")).notices == []


def test_an_attack_that_compares_captions_takes_automatic_ones() -> None:
    assert trial_of(f"fixed: {{domain: ada, method: none, attacks: [clid], caption: {COLOURS}}}").metrics


def test_captions_are_named_by_who_writes_them_of_whom() -> None:
    plan = plan_of(f"fixed: {{method: none}}\naxes: {{domain: [ada, bo], caption: [{COLOURS}, {BLIP}]}}")
    named = sorted(name for name in stage_names(plan).values() if name.startswith("captions"))
    assert named == ["captions blip ada", "captions blip bo", "captions colours ada", "captions colours bo"]


def test_captions_that_cannot_be_made_block_trials_and_fail_none() -> None:
    trial = trial_of(f"fixed: {{domain: ada, method: none, attacks: [loss], caption: {COLOURS}}}")
    captions = parent(after(trial, "loss"), "captions")
    failure = Failure(kind="captions", key=captions.key, error_class="configuration", message="no", traceback="", host="h")
    assert trial_state(trial, set(), {captions.key: failure}).state == "blocked"
