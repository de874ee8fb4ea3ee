"""What is planted in generated data, the report finds: a leak, and a split that leaks by itself, which it exposes before any other number.

The planted leak. Six drawn faces that the packaged model `tiny-sm2` was trained on; their members are images of its training set.
Dreambooth trains on the model's own drawings, mixed (`defence: mix`) with a folder of "public" images. That folder holds the members of
one of the six, each saved again as another file: planning refuses the very files of the data set, and copies slip through, as they would
from a real scrape. So the truth is known for every trial: that face's fine-tuning met its members, the others' met none of theirs.
It is a plant under the *method*, nothing is labelled a positive control, and the five are the null beside it. (Members under the role of
the control would test the control again; scores made by hand would test the report alone.) It is one face because a leak of all six
needs six times the steps; the price is that no test over domains can find it: the report's correction over comparisons has to.
(Measured: AUC .77 to .92; with new drawings of that face in the public folder .77 to .64, and the report finds no amplification.)

The planted split artefact. Members and non-members are both new drawings that no model was trained on: an attack can find nothing, its
true AUC is 0.5. Then the non-members are saved as JPEGs of low quality, as if they came from elsewhere. The attack's AUC rises without any
model having seen any of them, and the report must say so first; its twin of the same drawings as they were must not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.sources.check import check
from s2l_core.faces import IDENTITIES, records
from s2l_core.images import ImageRecord
from tests.planted_folders import Change, brighter_inside, captioned_inside, first_screen, jpeg_outside, resaved, write_folder
from tests.s2l_process import Home

PEOPLE = IDENTITIES[:6]
LEAKING = "mellune"
PRETRAINED_ON, NEW = 0, 7
"""Seeds of drawings: the packaged models', and one that no model knows."""

LEAK = """\
name: planted-leak
fixed: {model: tiny-sm2, data: people, public: public, sp_size: 8, sp_steps: 4, guidance: 2.0, attacks: [loss], bootstrap: 100}
axes:
  domain: [all]
  method: [none, dreambooth]
by_method:
  dreambooth: {steps: 80, batch: 16, lr: 5.0e-4, defence: {kind: mix, alpha: 0.05}}
"""
ARTEFACT = """\
name: planted-artefact
fixed: {model: tiny-sm2, data: DATA, sp_size: 4, sp_steps: 2, steps: 2, batch: 2, lr: 1.0e-3, attacks: [loss], bootstrap: 100}
axes:
  domain: [all]
  method: [none, lora]
"""


@dataclass(frozen=True)
class Seen:
    """What a finished grid shows: rows of AUC, and the first screen of its report."""

    rows: list[dict[str, Any]]
    headline: str
    said: str
    controls: str

    def of(self, method: str) -> dict[str, dict[str, Any]]:
        return {row["domain"]: row for row in self.rows if row["method"] == method}


def seen(home: Home, text: str) -> Seen:
    grid, page = home.folder / "grid.yaml", home.folder / "report.html"
    grid.write_text(text)
    home.run("run", str(grid), "--local", "--no-tracking")
    home.run("report", str(grid), "-o", str(page))
    rows = [row for row in json.loads(home.results(str(grid))) if row["metric"] == "auc"]
    return Seen(rows, *first_screen(page.read_text()))


def new_drawings() -> list[ImageRecord]:
    return [record for name in PEOPLE[:2] for record in records(name, seed=NEW, members=40, non_members=40)]


@pytest.fixture(scope="module")
def leak(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    home = Home(tmp_path_factory.mktemp("leak"))
    drawn = {name: records(name, seed=PRETRAINED_ON, members=24, non_members=24) for name in PEOPLE}
    write_folder(home.folder / "people", [record for each in drawn.values() for record in each])
    write_folder(home.folder / "public", [record for record in drawn[LEAKING] if record.member], change=resaved)
    return seen(home, LEAK)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    home = Home(tmp_path_factory.mktemp("artefact"))
    write_folder(home.folder / "scraped", new_drawings(), change=jpeg_outside)
    return seen(home, ARTEFACT.replace("DATA", "scraped"))


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    home = Home(tmp_path_factory.mktemp("twin"))
    write_folder(home.folder / "matched", new_drawings())
    return seen(home, ARTEFACT.replace("DATA", "matched"))


def test_a_planted_leak_is_what_the_report_opens_with(leak: Seen) -> None:
    assert leak.headline == "Fine-tuning made members easier to find, in some comparisons"
    assert "In 1 of 6 comparisons an attack became better by more than its 95 % interval; 1 of them stands after correction" in leak.said
    assert f"The largest of these changes: dreambooth, {LEAKING}, loss attack: AUC 0." in leak.said
    assert "Do not treat weights made with dreambooth as no more revealing than the base model" in leak.said


def test_the_leak_is_found_where_it_was_planted_and_nowhere_else(leak: Seen) -> None:
    found = leak.of("dreambooth")
    assert set(found) == set(PEOPLE)
    assert {name for name, row in found.items() if row["verdict"] == "amplified"} == {LEAKING}
    assert found[LEAKING]["delta_low"] > 0
    assert all(row["delta"] == 0 for row in leak.of("none").values())


def test_a_leak_of_the_model_is_not_blamed_on_the_split(leak: Seen) -> None:
    assert "Blind baseline ✓ as it should be" in leak.controls
    assert "cannot tell members from non-members beyond chance" in leak.said
    assert "Beware of" not in leak.said


def test_a_planted_artefact_is_what_the_report_opens_with(artefact: Seen) -> None:
    assert artefact.headline == "The split leaks by itself: members can be told from non-members without the model in 2 of 2 domains"
    assert artefact.said.startswith(f"Beware of {' and '.join(sorted(PEOPLE[:2]))}: a blind classifier that never sees the model")
    assert "Every single AUC there says too much" in artefact.said
    assert "What to do next Make a split whose members and non-members come from one source" in artefact.said
    assert "Blind baseline ! not as it should be Without the model, members and non-members can be told apart" in artefact.controls


def test_the_attack_is_fooled_by_the_artefact_and_its_numbers_are_still_there(artefact: Seen, twin: Seen) -> None:
    for name in PEOPLE[:2]:
        assert artefact.of("none")[name]["before"] > twin.of("none")[name]["before"] + 0.15, "no model has seen any of these images"
    assert len(artefact.rows) == len(twin.rows) == 4
    assert all(row["delta_low"] <= row["delta"] <= row["delta_high"] for row in artefact.rows)
    assert all(row["verdict"] != "amplified" for row in artefact.rows)


def test_the_same_drawings_without_the_artefact_are_not_accused(twin: Seen) -> None:
    assert "leaks" not in twin.headline
    assert "Beware of" not in twin.said
    assert "Blind baseline ✓ as it should be" in twin.controls


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (jpeg_outside, {"differs-format", "differs-jpeg-quantisation"}),
        (brighter_inside, {"differs-brightness"}),
        (captioned_inside, {"differs-caption-length"}),
    ],
)
def test_data_check_names_each_artefact_beforehand(change: Change, named: set[str], tmp_path: Path) -> None:
    found = {finding.code: finding for finding in check(write_folder(tmp_path / "data", new_drawings(), change=change), fpr=[0.05])}
    assert named <= set(found)
    assert {found[code].severity for code in (*named, "blind-separable")} == {"warning"}


def test_data_check_finds_nothing_in_the_same_drawings_as_they_were(tmp_path: Path) -> None:
    codes = {finding.code for finding in check(write_folder(tmp_path / "data", new_drawings()), fpr=[0.05])}
    assert not {code for code in codes if code.startswith("differs-")}
    assert "blind-chance" in codes
