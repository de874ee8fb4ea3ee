"""Objectives as values: which images meet which prompts, and with which weight."""

from __future__ import annotations

from typing import get_args

import pytest

from s2l_core.images import ImageRecord
from s2l_core.objectives import Reconstruction, Term, terms_of
from s2l_core.specs.objectives import (
    DenoiseObjective,
    DreamBoothObjective,
    EndToEndObjective,
    ObjectiveSpec,
    PriorPreservation,
    TemplatesObjective,
)

RECORDS = [ImageRecord(str(i), b"", text, "ada", None) for i, text in enumerate(["photo of ada", "face of ada", "ada, smiling"])]
CLASS = [ImageRecord(f"class-{i}", b"", "whatever it was drawn with", "", None) for i in range(2)]
EXAMPLES: dict[str, ObjectiveSpec] = {
    "denoise": DenoiseObjective(),
    "dreambooth": DreamBoothObjective(),
    "templates": TemplatesObjective(),
    "end-to-end": EndToEndObjective(),
}


def test_every_member_of_the_union_is_under_test() -> None:
    assert {type(spec) for spec in EXAMPLES.values()} == set(get_args(get_args(ObjectiveSpec)[0]))


@pytest.mark.parametrize("objective", EXAMPLES.values(), ids=EXAMPLES)
def test_the_first_term_holds_the_whole_set_in_order_with_a_prompt_an_image(objective: ObjectiveSpec) -> None:
    first = terms_of(objective, RECORDS, name="ada")[0]
    assert first.records == tuple(RECORDS)
    assert len(first.prompts) == len(RECORDS)
    assert first.weight == 1.0


@pytest.mark.parametrize("objective", EXAMPLES.values(), ids=EXAMPLES)
def test_an_empty_set_is_refused(objective: ObjectiveSpec) -> None:
    with pytest.raises(ValueError, match="there is nothing to fine-tune ada on: the set holds 0 images"):
        terms_of(objective, [], name="ada")


@pytest.mark.parametrize("objective", EXAMPLES.values(), ids=EXAMPLES)
def test_class_images_that_nobody_asked_for_are_refused(objective: ObjectiveSpec) -> None:
    with pytest.raises(ValueError, match=r"2 class images have no place|takes no class images; got 2"):
        terms_of(objective, RECORDS, name="ada", prior=CLASS)


@pytest.mark.parametrize("objective", EXAMPLES.values(), ids=EXAMPLES)
def test_a_token_takes_the_names_place_in_every_prompt_of_the_set(objective: ObjectiveSpec) -> None:
    named = terms_of(objective, RECORDS, name="ada")[0].prompts
    with_token = terms_of(objective, RECORDS, name="ada", token="<s2l>")[0].prompts
    assert all("ada" in prompt for prompt in named)
    assert with_token == tuple(prompt.replace("ada", "<s2l>") for prompt in named)


def test_a_token_leaves_the_class_prompt_alone() -> None:
    objective = DreamBoothObjective(prior=PriorPreservation(class_prompt="photo of a person like ada"))
    instance, added = terms_of(objective, RECORDS, name="ada", prior=CLASS, token="<s2l>")
    assert set(instance.prompts) == {"photo of <s2l>"}
    assert set(added.prompts) == {"photo of a person like ada"}


def test_templates_are_drawn_by_an_images_place_alone_and_all_come_up() -> None:
    objective = TemplatesObjective(templates=("a {name}", "b {name}", "c {name}"))
    many = RECORDS * 40
    prompts = terms_of(objective, many, name="ada")[0].prompts
    assert prompts[:7] == terms_of(objective, many[:7], name="ada")[0].prompts
    counts = [prompts.count(f"{letter} ada") for letter in "abc"]
    assert sum(counts) == 120
    assert min(counts) > 25


def test_end_to_end_shows_what_denoise_shows_and_reconstructs_it() -> None:
    (term,) = terms_of(EndToEndObjective(reconstruction_weight=2.0, kl_weight=0.5), RECORDS, name="ada")
    assert term == Term("set", tuple(RECORDS), tuple(one.text for one in RECORDS), reconstruction=Reconstruction(2.0, 0.5))


def test_denoise_shows_each_image_with_its_own_text() -> None:
    assert terms_of(DenoiseObjective(), RECORDS, name="ada")[0].prompts == ("photo of ada", "face of ada", "ada, smiling")


def test_dreambooth_shows_every_image_with_the_instance_prompt() -> None:
    terms = terms_of(DreamBoothObjective(instance_prompt="a {name} toy"), RECORDS, name="ada")
    assert [term.prompts for term in terms] == [("a ada toy",) * 3]


def test_prior_preservation_adds_the_class_images_with_the_class_prompt_and_its_weight() -> None:
    objective = DreamBoothObjective(prior=PriorPreservation(weight=0.3, class_prompt="photo of a person"))
    _, added = terms_of(objective, RECORDS, name="ada", prior=CLASS)
    assert added == Term("class", tuple(CLASS), ("photo of a person",) * 2, 0.3)


@pytest.mark.parametrize("prior", [None, []])
def test_prior_preservation_without_class_images_is_refused(prior: list[ImageRecord] | None) -> None:
    with pytest.raises(ValueError, match="dreambooth with a prior needs class images; got none"):
        terms_of(DreamBoothObjective(prior=PriorPreservation()), RECORDS, name="ada", prior=prior)
