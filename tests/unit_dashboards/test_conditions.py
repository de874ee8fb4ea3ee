"""Attacks run once more under another condition: the same evidence, looked at twice, and counted once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboards.comparisons import as_themselves, comparisons
from dashboards.conditions import CONDITIONS, split
from dashboards.controls import control_cards
from dashboards.findings import findings
from dashboards.report import report
from dashboards.results import cells, rows
from tests.ablations_by_hand import finished


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("secmi@own-caption", ("secmi", "own-caption")),
        ("pia@base-vae", ("pia", "base-vae")),
        ("secmi", ("secmi", "")),
        ("early@60", ("early@60", "")),
        ("early@60@base-vae", ("early@60", "base-vae")),
        ("@base-vae", ("@base-vae", "")),
    ],
)
def test_only_known_conditions_are_taken_off_a_name(name: str, parts: tuple[str, str]) -> None:
    assert split(name) == parts


def test_every_condition_says_what_was_done_and_how_to_read_it() -> None:
    assert set(CONDITIONS) == {"own-caption", "base-vae"}
    assert all(len(condition.words) > 100 and condition.short for condition in CONDITIONS.values())


def test_the_headline_counts_each_attack_once(many: Any) -> None:
    compared = comparisons(many.plan, cells(many.plan, many.ledger))
    conditioned = [each for each in compared if each.condition]
    assert {each.attack for each in compared} == {"secmi"}
    assert len(conditioned) == 12 * 2 * 4
    tested = [each for each in as_themselves(compared) if each.role == "method"]
    said = findings(compared, [])
    assert len(tested) == 12 * 2 * 10
    assert "of 240 comparisons" in said.paragraphs[0]
    assert "1 attack tried to tell" in said.paragraphs[0]
    assert any("@own-caption" in paragraph and "is not counted" in paragraph for paragraph in said.paragraphs)


def test_controls_count_each_attack_once_too(many: Any) -> None:
    compared = comparisons(many.plan, cells(many.plan, many.ledger))
    cards = control_cards([*compared, *(each for each in compared if each.condition)], [])
    assert cards[1].words == control_cards(as_themselves(compared), [])[1].words


def test_rows_for_programs_keep_the_whole_name(many: Any) -> None:
    found = {row["attack"] for row in rows(many.plan, many.ledger)}
    assert found == {"secmi", "secmi@own-caption", "secmi@base-vae"}


def test_a_condition_is_explained_at_the_first_attack_that_has_it(tmp_path: Path) -> None:
    points = [{"domain": "alba", "method": method, "seed": 0} for method in ("textual-inversion", "end2end")]
    world = finished(tmp_path, points, lambda axes, attack: 0.0)
    text = report(world.plan, world.ledger)
    explained = text.index("Some methods train a new token")
    assert text.count("Some methods train a new token") == text.count("Some methods change the autoencoder") == 1
    assert text.index("Attack: loss") < explained < text.index("Attack: secmi")
