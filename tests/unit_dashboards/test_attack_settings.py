"""The report says of every attack what it is, what it needs, and who set its knobs on what."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from dashboards import show
from dashboards.attack_settings import ACCESS, AttackRow, attack_settings
from dashboards.report import report
from s2l_core.specs.attacks import ATTACK_PRESETS, AttackSpec
from tests.chosen_by_hand import SECMI, choose, chosen, world_with
from tests.unit_dashboards.test_report_page_source import Page

__all__ = ["chosen"]
COLOURS = "{kind: automatic, captioner: colours}"


def rows(world: Any) -> dict[str, AttackRow]:
    found = attack_settings(world.plan, world.ledger)
    assert len({row.name for row in found}) == len(found)
    return {row.name: row for row in found}


def test_there_is_one_row_for_each_attack_of_the_grid(chosen: Any) -> None:
    assert set(rows(chosen)) == {"secmi-chosen", "loss-chosen", "best", "s2l-paper", "pfami", "secmi-t60"}


def test_a_row_says_what_the_attack_is_needs_and_takes_for_members(chosen: Any) -> None:
    row = rows(chosen)["s2l-paper"]
    assert row.what == "SecMI (statistic): how far a DDIM step and its inverse miss each other"
    assert (row.calls, row.access, row.sign, row.source) == ("16 calls", "eps: the predicted noise", "a smaller miss", "arXiv 2302.01316")
    assert row.prompts == "each image's own caption"


def test_knobs_that_are_not_the_default_say_so(chosen: Any) -> None:
    assert rows(chosen)["s2l-paper"].knobs == ["t = 140 (default 100)", "k = 10"]
    assert rows(chosen)["pfami"].knobs[2:] == ["draws = 1", "relative = yes"]
    assert rows(chosen)["best"].knobs == ["timesteps = 20 (default 50, 100, 200, 300)", "draws = 1 (default 2)"]


def test_a_row_says_whether_the_knobs_were_fixed_and_by_whom(chosen: Any) -> None:
    found = {name: row.how for name, row in rows(chosen).items()}
    assert found["pfami"] == "fixed beforehand: the defaults"
    assert found["s2l-paper"] == "fixed beforehand: the preset s2l-paper"
    assert found["secmi-t60"] == "fixed in the grid file"
    assert found["secmi-chosen"] == "chosen on bo, cy: mean AUC 0.700 (t = 140) against 0.600 (t = 20), 0.650 (t = 60)"
    assert found["best"] == "chosen on bo: AUC 0.650 (loss with timesteps = 20, draws = 1) against 0.600 (pia with normalized = yes)"


def test_before_the_choice_is_made_a_row_says_among_what(tmp_path: Path) -> None:
    row = rows(world_with(tmp_path))["secmi-chosen"]
    assert (row.calls, row.knobs) == ("4 to 16 calls", ["not chosen yet"])
    assert row.how == "to be chosen on bo, cy among t = 20; t = 60; t = 140"


def test_several_models_have_a_row_each(tmp_path: Path) -> None:
    world = choose(world_with(tmp_path, SECMI, axes="domain: [ada], method: [none], model: [one, two]"))
    found = attack_settings(world.plan, world.ledger)
    assert [(row.name, row.of) for row in found] == [("secmi-chosen", "one"), ("secmi-chosen", "two")]


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("own", "each image's own caption"),
        ("domain", "one for the domain: “photo of {name}”"),
        ("'null'", "none"),
        (COLOURS, "what a captioner (colours) says of the image"),
        ("{kind: automatic, captioner: {kind: colours, most: 2}}", "what a captioner (colours(most=2)) says of the image"),
    ],
)
def test_a_row_says_which_prompts_are_shown(tmp_path: Path, caption: str, told: str) -> None:
    assert rows(world_with(tmp_path, "pia", fixed=f", caption: {caption}"))["pia"].prompts == told


def test_a_row_says_that_a_trained_token_takes_the_names_place(tmp_path: Path) -> None:
    world = world_with(tmp_path, "pia", axes="domain: [ada], method: [textual-inversion]")
    assert rows(world)["pia"].prompts == "each image's own caption; where a token was trained, with it in the name's place"


@pytest.mark.parametrize("preset", ATTACK_PRESETS)
def test_every_preset_has_a_whole_row(tmp_path: Path, preset: str) -> None:
    row = rows(world_with(tmp_path, preset))[preset]
    assert all((row.what, row.access, row.calls, row.sign, row.source, row.knobs, row.prompts, row.how))
    assert row.how.startswith("fixed beforehand")


def test_every_access_has_its_words() -> None:
    kinds = get_args(get_args(AttackSpec)[0])
    assert {access for kind in kinds for access in get_args(kind.model_fields["access"].annotation)} <= set(ACCESS)


def test_the_page_has_the_rows(chosen: Any) -> None:
    page = Page(report(chosen.plan, chosen.ledger))
    for row in rows(chosen).values():
        for words in (row.name, row.what, row.calls, row.sign, row.source, "; ".join(row.knobs), row.how):
            assert words in page.text, words


def test_a_trial_shows_what_was_chosen_for_it(chosen: Any) -> None:
    trial = chosen.plan.trials[0]
    found = show.show(chosen.plan, chosen.ledger, trial.key)
    assert {name: document["attack"]["kind"] for name, document in found["chosen"].items()} == {
        "best": "loss",
        "loss-chosen": "loss",
        "secmi-chosen": "secmi",
    }
    assert found["chosen"]["secmi-chosen"]["attack"]["t"] == 140
    lines = show.text(found).splitlines()
    line = next(number for number, text in enumerate(lines) if text.startswith("secmi-chosen: "))
    assert lines[line + 1] == "  chosen on bo, cy: mean AUC 0.700 (t = 140) against 0.600 (t = 20), 0.650 (t = 60)"
