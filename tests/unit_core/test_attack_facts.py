"""Every kind of attack says what it is: the union is enumerated, so that a new member must too. No key depends on these words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from s2l_core.specs.attacks import ATTACK_PRESETS, AnyAttack, AttackKind, AttackSpec, ClidAttack, LossAttack, PFAMIAttack, SecMIAttack
from tests.attack_cases import Model, run

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "attacks.md").read_text()
MEMBERS: tuple[type[AttackKind], ...] = get_args(get_args(AttackSpec)[0])
EVERY = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__name__)
FACTS = ("title", "looks_at", "sign", "source")


def kind_of(member: type[AttackKind]) -> str:
    return str(member.model_fields["kind"].default)


@EVERY
def test_an_attack_says_itself_what_it_is_looks_at_takes_for_members_and_comes_from(member: type[AttackKind]) -> None:
    said = {fact: vars(member).get(fact) for fact in FACTS}
    assert all(isinstance(words, str) and words for words in said.values()), said
    assert all(words == words.strip() and not words.endswith(".") for words in said.values() if words)
    assert re.fullmatch(r"arXiv \d{4}\.\d{5}", member.source)
    assert member.model_fields["access"].default in ("black-box", "eps", "gradients")
    assert "calls" in vars(member)


def test_no_two_attacks_say_the_same() -> None:
    assert len({member.title for member in MEMBERS}) == len({member.looks_at for member in MEMBERS}) == len(MEMBERS)


@EVERY
def test_what_is_said_is_no_part_of_the_meaning(member: type[AttackKind]) -> None:
    dumped = member().model_dump(mode="json")
    assert not {*FACTS, "calls", "knobs", "learns"} & set(dumped)
    assert set(member().knobs) | {"kind", "access"} == set(dumped)


@EVERY
def test_the_page_about_attacks_names_the_same_source_and_the_same_look(member: type[AttackKind]) -> None:
    (section,) = re.findall(rf"^## `{kind_of(member)}`\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
    (source,) = re.findall(r"^- Source: (.*)$", section, re.MULTILINE)
    assert member.source in source
    (row,) = re.findall(rf"^\| `{kind_of(member)}` \|(.*)\|$", TEXT, re.MULTILINE)
    assert member.looks_at in row


@pytest.mark.parametrize(
    "attack",
    [
        *ATTACK_PRESETS.values(),
        LossAttack(timesteps=(20,), draws=3),
        SecMIAttack(t=60, k=20),
        PFAMIAttack(timesteps=(50, 300), crops=(0.9,), draws=2),
        ClidAttack(timesteps=(200,), pieces=0),
        ClidAttack(timesteps=(200, 300), pieces=2),
    ],
    ids=str,
)
def test_the_calls_that_a_spec_tells_are_those_that_are_made(attack: AnyAttack) -> None:
    assert run(Model(), {"it": attack}, range(1)).calls["it"] == attack.calls
