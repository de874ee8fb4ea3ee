"""The page about attacks says what is: a section a kind with its settings, a row a preset with its calls, an example that is a grid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from s2l_core.specs.attacks import ATTACK_PRESETS, AttackSpec
from tests.attack_cases import Model, run

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "attacks.md").read_text()
KINDS = get_args(get_args(AttackSpec)[0])


def section(kind: str) -> str:
    (found,) = re.findall(rf"^## `{kind}`\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.parametrize("member", KINDS, ids=lambda member: member.__name__)
def test_every_attack_has_a_section_with_all_its_settings_its_source_cost_sign_and_weakness(member: type) -> None:
    text = section(member.model_fields["kind"].default)  # type: ignore[attr-defined]
    settings = [name for name in member.model_fields if name not in ("kind", "access")]  # type: ignore[attr-defined]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == settings
    assert "score = " in text
    for said in ("Source: ", "arXiv ", "Calls: ", "Sign: ", "Weak: ", "Rounding "):
        assert said in text, said


@pytest.mark.parametrize("member", KINDS, ids=lambda member: member.__name__)
def test_every_spec_says_its_source_access_and_sign(member: type) -> None:
    said = " ".join((member.__doc__ or "").split())
    assert re.search(r"\(arXiv \d{4}\.\d{5}\)", said)
    assert f"Access: {member.model_fields['access'].default}" in said  # type: ignore[attr-defined]
    assert re.search(r"[Mm]inus the |[Tt]he mean rise of |logit for member", said)


def test_the_table_has_every_preset_with_the_calls_it_makes() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \| eps \| (\d+)", TEXT, re.MULTILINE))
    found = run(Model(), ATTACK_PRESETS, range(1))
    assert {name: int(calls) for name, calls in rows.items()} == found.calls


def test_the_scalar_defaults_in_the_tables_are_the_specs() -> None:
    for member in KINDS:
        rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section(member.model_fields["kind"].default), re.MULTILINE))
        for name, info in member.model_fields.items():
            if name not in ("kind", "access") and not isinstance(info.default, tuple):
                assert yaml.safe_load(rows[name]) == info.default, (member.__name__, name)
