"""Which prompt an image is attacked with."""

from __future__ import annotations

import pytest

from s2l_core.captions import prompts_for, replace_name
from s2l_core.images import ImageRecord
from s2l_core.specs.captions import DomainPrompt, NullCaption, OwnCaption, ReplaceName

TEXTS = ("photo of Ada", "two people", "ada and an adaptor, Ada's nada", "ADA")


def records(*texts: str) -> list[ImageRecord]:
    return [ImageRecord(f"{place}", b"", text, "ada", True) for place, text in enumerate(texts)]


def test_the_token_takes_the_names_place_and_no_other() -> None:
    made = prompts_for(records(*TEXTS), ReplaceName(name="ada", token="<a> <b>"), "ada")
    assert made == ["photo of <a> <b>", "two people", "<a> <b> and an adaptor, <a> <b>'s nada", "<a> <b>"]


def test_a_name_of_several_words_is_found_however_it_is_spaced() -> None:
    assert replace_name(["photo of Ada  Lovelace.", "Ada photo"], "ada lovelace", r"<\1>") == [r"photo of <\1>.", "Ada photo"]


def test_a_name_with_signs_is_taken_as_it_is() -> None:
    assert replace_name(["photo of person-01 (left)", "photo of person-011"], "person-01", "<s>") == [
        "photo of <s> (left)",
        "photo of person-011",
    ]


def test_captions_of_which_none_holds_the_name_are_refused_and_not_one_is_told() -> None:
    with pytest.raises(ValueError, match=r"none of 2 captions holds the name 'eve', so that <s2l> has no place in them; use a") as caught:
        prompts_for(records("photo of Ada", "ADA"), ReplaceName(name="eve", token="<s2l>"), "eve")
    assert "ada" not in str(caught.value).lower()
    assert prompts_for([], ReplaceName(name="eve", token="<s2l>"), "eve") == []


def test_the_other_rules_give_each_image_its_own_one_for_all_or_none() -> None:
    found = records(*TEXTS)
    assert prompts_for(found, OwnCaption(), "ada") == list(TEXTS)
    assert prompts_for(found, NullCaption(), "ada") == [""] * 4
    assert prompts_for(found, DomainPrompt(), "ada") == ["photo of ada"] * 4
    with pytest.raises(ValueError, match="needs the domain's name; got none"):
        prompts_for(found, DomainPrompt(), "")


def test_captions_follow_one_rule_for_members_and_non_members() -> None:
    data = [*records(*TEXTS), ImageRecord("other", b"", "nobody", "ada", False)]
    assert prompts_for(data, OwnCaption(), "") == [record.text for record in data]
    assert prompts_for(data, NullCaption(), "") == [""] * 5
    assert prompts_for(data, DomainPrompt(), "Zorvik") == ["photo of Zorvik"] * 5
    with pytest.raises(ValueError, match=r"'photo of \{name\}' needs the domain's name; got none"):
        prompts_for(data, DomainPrompt(), "")
