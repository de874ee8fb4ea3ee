"""What terminals and messages call a stage."""

from __future__ import annotations

from jobs.plan.names import stage_names
from tests.stated_inputs import after, by_method, parent, plan_of, trial_of


def test_a_stage_is_named_as_the_trial_it_belongs_to_names_its_attack() -> None:
    plan = plan_of("fixed: {domain: ada, method: textual-inversion, attacks: [loss]}\naxes: {seed: [3]}")
    (trial,) = plan.trials
    names = stage_names(plan)
    assert names[trial.metrics["loss@own-caption"].key] == "metrics loss@own-caption seed=3"
    assert names[after(trial, "loss").key] == "score loss seed=3"


def test_a_shake_that_noise_is_matched_to_keeps_its_own_trial_s_name() -> None:
    plan = plan_of("fixed: {domain: ada, sigma: match}\naxes: {method: [gaussian, dreambooth]}")
    names = stage_names(plan)
    trained = by_method(plan, "dreambooth")[0].shake
    assert trained is not None
    assert names[trained.key] == "shake dreambooth"


def test_sets_and_shakes_of_later_rounds_say_which() -> None:
    text = "fixed: {domain: ada, method: lora, rounds: 3}"
    shake = trial_of(text).shake
    names = stage_names(plan_of(text))
    drawn = parent(shake, "train")
    assert shake is not None
    assert names[shake.key] == "shake round 3"
    assert names[drawn.key] == "sp Ada, round 3"
    assert names[parent(parent(drawn, "shake"), "train").key] == "sp Ada, round 2"


def test_what_is_to_be_given_is_named_by_what_it_stands_for() -> None:
    from jobs.grid.read import parse_grid
    from jobs.plan.expand import expand

    text = "name: g\nfixed: {data: 'to-be-given:people', model: 'to-be-given:sd-v1-1', domain: person-07, method: none}"
    names = set(stage_names(expand(parse_grid(text, "g"))).values())
    assert {"base sd-v1-1", "data person-07", "blind person-07"} <= names
