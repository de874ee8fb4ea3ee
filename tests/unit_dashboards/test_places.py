"""Where trials stand in their grid: whose images, which part, what sets them apart."""

from __future__ import annotations

from typing import Any

import pytest

from dashboards.places import Place, places
from jobs.plan.graph import Graph
from tests.plan_by_hand import PlanByHand
from tests.stated_inputs import plan_of


def places_of(*points: dict[str, Any]) -> list[Place]:
    plan = PlanByHand(Graph(), points).plan()
    where = places(plan)
    return [where[trial.key] for trial in plan.trials]


def place_of(**point: Any) -> Place:
    (place,) = places_of({"domain": "alba", "method": "dreambooth"} | point)
    return place


@pytest.mark.parametrize(
    ("point", "role"),
    [
        ({}, "method"),
        ({"method": "none"}, "no-shake"),
        ({"train_on": "members"}, "members"),
        ({"train_on": "members", "defence": "clip-noise"}, "defended-members"),
        ({"defence": "clip-noise"}, "method"),
        ({"train_on": "unrelated"}, "unrelated"),
        ({"sp_prompts": "unrelated"}, "unrelated"),
        ({"attack_domain": "bruno"}, "transfer"),
        ({"attack_domain": "alba"}, "method"),
        ({"attack_domain": "bruno", "train_on": "members"}, "transfer"),
        ({"method": "none", "attack_domain": "bruno"}, "no-shake"),
        ({"method": "gaussian", "sigma": 0.1}, "method"),
        ({"method": "gaussian", "sigma": "match"}, "matched-noise"),
        ({"method": "gaussian", "sigma": "match", "train_on": "members"}, "matched-noise"),
        ({"rounds": 3}, "method"),
        ({"rounds": 2, "train_on": "unrelated"}, "unrelated"),
    ],
)
def test_a_trial_s_part_follows_from_what_it_hangs_on(point: dict[str, Any], role: str) -> None:
    assert place_of(**point).role == role


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("by_method: {lora: {train_on: unrelated}}", ["method", "unrelated"]),
        ("fixed: {train_on: unrelated}\nwhen: {train_on: {method: dreambooth}}", ["unrelated", "method"]),
        ("fixed: {sp_prompts: unrelated}\nwhen: {sp_prompts: {method: lora}}", ["method", "unrelated"]),
        ("by_method: {dreambooth: {train_on: members}}", ["members", "method"]),
    ],
)
def test_a_part_follows_from_what_holds_at_the_point_wherever_the_grid_says_it(text: str, roles: list[str]) -> None:
    plan = plan_of(f"axes: {{domain: [ada, bo], method: [dreambooth, lora]}}\n{text}")
    where = places(plan)
    assert [where[trial.key].role for trial in plan.trials] == roles * 2


def test_the_domain_is_the_attacked_one_whatever_the_model_was_trained_on() -> None:
    assert place_of(attack_domain="bruno").domain == "bruno"
    assert place_of(attack_domain="bruno").trained_on == "alba"
    assert place_of(attack_domain="bruno", train_on="members").domain == "bruno"
    assert place_of(train_on="members").domain == "alba"
    assert place_of().trained_on == ""


def test_noise_has_no_domain_so_that_attacking_another_is_no_transfer() -> None:
    place = place_of(method="gaussian", sigma=0.1, attack_domain="bruno")
    assert (place.role, place.domain, place.trained_on, place.change) == ("method", "bruno", "", "noise")


def test_what_was_done_to_the_weights_is_told() -> None:
    changes = [place_of(**point).change for point in ({}, {"method": "none"}, {"method": "gaussian"}, {"rounds": 2})]
    assert changes == ["trained", "nothing", "noise", "trained"]


def test_transfer_of_a_control_is_told_apart_from_transfer_of_a_method() -> None:
    assert place_of(attack_domain="bruno", train_on="members").variant == "dreambooth, train_on = members"
    assert place_of(attack_domain="bruno").variant == "dreambooth"


def test_words_and_numbers_of_axes_are_said_so_that_they_can_be_told_apart() -> None:
    point = {"domain": "alba", "method": "lora"}
    found = places_of(*(point | {"rank": rank, "alpha": alpha} for rank in (1, 2) for alpha in ("rank", 32.0)))
    assert [place.variant for place in found] == [
        "lora, rank 1, alpha = rank",
        "lora, rank 1, alpha 32",
        "lora, rank 2, alpha = rank",
        "lora, rank 2, alpha 32",
    ]
    assert found[0].without("rank") == "lora, alpha = rank"


def test_a_trial_that_stands_for_several_points_is_not_named_after_the_first() -> None:
    sizes = [
        {"domain": "alba", "method": method, "sp_size": size, "train_on": train_on}
        for method, train_on in (("dreambooth", "sp"), ("dreambooth", "members"), ("gaussian", "sp"), ("none", "sp"))
        for size in (8, 64)
    ]
    assert {(place.role, place.variant) for place in places_of(*sizes)} == {
        ("method", "dreambooth, sp_size 8"),
        ("method", "dreambooth, sp_size 64"),
        ("members", "dreambooth"),
        ("method", "gaussian"),
        ("no-shake", "none"),
    }


def test_what_sets_the_baseline_apart_stays_in_its_name() -> None:
    models = [{"domain": "alba", "method": "none", "model": model} for model in ("tiny", "small")]
    assert [place.variant for place in places_of(*models)] == ["none, model = tiny", "none, model = small"]


def test_noise_that_differs_in_nothing_but_its_training_set_is_one_method() -> None:
    found = places_of(*({"domain": "alba", "method": "gaussian", "train_on": train_on} for train_on in ("unrelated", "sp")))
    assert [(place.role, place.variant) for place in found] == [("method", "gaussian")]


def test_lists_and_mappings_are_said_in_few_words() -> None:
    prompts = (["photo of {name}"], ["face of {name}", "portrait"], ["x" * 99])
    found = places_of(*({"domain": "alba", "method": "lora", "sp_prompts": texts} for texts in prompts))
    assert [place.variant for place in found] == [
        "lora, sp_prompts = photo of {name}",
        "lora, sp_prompts = face of {name} / portrait",
        f"lora, sp_prompts = {'x' * 47}…",
    ]


def test_long_values_that_are_cut_alike_stay_apart() -> None:
    found = places_of(*({"domain": "alba", "method": "lora", "sp_prompts": ["x" * 60 + end]} for end in "abc"))
    assert [place.variant.removeprefix(f"lora, sp_prompts = {'x' * 47}…") for place in found] == ["", " (2)", " (3)"]


def test_each_caption_that_an_attack_shows_is_a_variant_of_its_own_in_few_words() -> None:
    blip = "{kind: automatic, captioner: {kind: blip, model: ./networks/blip-image-captioning-large, beams: 1}}"
    captions = f"[own, domain, 'null', {{kind: automatic, captioner: colours}}, {blip}]"
    plan = plan_of(f"fixed: {{steps: 5}}\naxes: {{domain: [ada, bo], method: [none, lora], caption: {captions}}}")
    variants = {place.variant for place in places(plan).values() if place.method == "lora"}
    assert variants == {
        "lora, caption = own",
        "lora, caption = domain",
        "lora, caption = null",
        "lora, caption = automatic colours",
        'lora, caption = automatic blip(beams=1,model="./networks/blip-i…',
    }
    assert len({place.variant for place in places(plan).values() if place.role == "no-shake"}) == 5
