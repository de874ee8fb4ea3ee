"""Memorisation through `s2l run` on the tiny model: before, after a shake, with a learned token; and what MLflow shows beside attacks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jobs.ledger.ledger import Ledger
from jobs.store.open import open_store
from tests.mirror_world import Shown
from tests.s2l_process import Home

GRID = """\
name: known
fixed:
  model: tiny
  data: tiny-faces
  sp_size: 4
  sp_steps: 4
  guidance: 2.0
  steps: 2
  batch: 2
  lr: 1e-2
  attacks: [sima]
  bootstrap: 100
  fidelity: pixels
  extraction: {features: pixels, candidates: 6, keep: 8, alignment: {shift: 0}, cliques: {size: 3}, permutations: 99}
  memorisation: {noises: 1, controls: [brindok, calvessa, dorquil]}
axes:
  domain: [zorvik]
  method: [none, dreambooth, textual-inversion]
"""

Finished = tuple[Home, str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    home = Home(tmp_path_factory.mktemp("known"))
    grid = home.folder / "grid.yaml"
    grid.write_text(GRID)
    done = home.json("run", str(grid), "--local")
    assert done["trials"] == {"done": 3, "failed": 0, "blocked": 0}
    return home, str(grid)


def documents(home: Home) -> list[dict[str, Any]]:
    ledger = Ledger(open_store(str(home.store)))
    found = [ledger.manifest("memorisation", key) for key in sorted(ledger.committed("memorisation"))]
    return [json.loads(ledger.read(manifest, "memorisation.json")) for manifest in found if manifest is not None]


def rows(home: Home, grid: str, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(home.run("results", grid, f"--{kind}", "--format", "json").stdout)
    return found


def test_before_is_asked_once_and_every_shaken_model_by_the_name_it_knows(finished: Finished) -> None:
    found = documents(finished[0])
    by_name = {(one["name"], "change" in one): one for one in found}
    assert sorted(by_name) == [("<s2l>", True), ("zorvik", False), ("zorvik", True)]
    before = by_name["zorvik", False]
    for name in ("<s2l>", "zorvik"):
        after = by_name[name, True]
        assert after["change"]["score"] == after["score"] - before["score"] != 0
        assert [one["name"] for one in after["controls"]] == ["brindok", "calvessa", "dorquil"]
    assert by_name["<s2l>", True]["controls"] == before["controls"], "a token alone changes nothing for other names"
    assert by_name["zorvik", True]["controls"] != before["controls"]


def test_results_have_a_row_a_trial_and_measure_with_the_documents_numbers(finished: Finished) -> None:
    home, grid = finished
    found = rows(home, grid, "memorisation")
    assert len(found) == 3 * 4
    scores = {row["method"]: (row["before"], row["after"]) for row in found if row["measure"] == "score"}
    (before,) = (one["score"] for one in documents(home) if "change" not in one)
    assert scores["none"] == (before, before)
    assert {score for score, _ in scores.values()} == {before}
    assert {after for _, after in scores.values()} == {one["score"] for one in documents(home)}
    lines = home.run("results", grid, "--memorisation").stdout.splitlines()
    assert lines[0].split() == ["trial", "method", "measure", "before", "after", "delta", "interval"]


def test_the_report_says_which_domains_the_model_knows(finished: Finished, tmp_path: Path) -> None:
    home, grid = finished
    page = tmp_path / "report.html"
    home.run("report", grid, "-o", str(page))
    (section,) = re.findall(r'<section aria-labelledby="known">.*?</section>', page.read_text(), re.DOTALL)
    text = re.sub(r"(<[^>]+>|\s)+", " ", section)
    assert "Which domains does the model know?" in text
    assert "After fine-tuning" in text
    assert text.index("dreambooth") < text.index("textual-inversion")


def test_without_memorisation_nothing_new_runs_and_asking_for_its_table_says_how_to_have_it(finished: Finished) -> None:
    home, grid = finished
    before = home.manifests()
    assert home.json("run", grid, "--local", "--no-tracking")["stages"]["ran"] == 0
    plan = home.json("plan", grid, "--set", "memorisation=none")
    assert "memorisation" not in plan["stages"]
    assert sum(kind["to_run"] for kind in plan["stages"].values()) == 0
    assert home.manifests() == before
    told = home.run("results", grid, "--memorisation", "--set", "memorisation=none", check=(2,)).stderr
    assert "measures memorisation; set it in the grid (fixed: {memorisation: default}), or --set memorisation=default" in told


def test_mlflow_shows_the_numbers_of_the_result_tables(finished: Finished) -> None:
    home, grid = finished
    runs = Shown(home.tracking, "known").by_trial
    assert len(runs) == 3
    bounds = ("before", "after", "delta", "delta_low", "delta_high")
    told = 0
    for kind in ("extraction", "fidelity", "memorisation"):
        for row in rows(home, grid, kind):
            name = "/".join([kind, *([row["rule"]] if row.get("rule") else []), row["measure"]])
            shown = runs[row["trial_key"]].data.metrics
            for bound in bounds:
                assert shown.get(f"{name}/{bound}") == row[bound], (name, bound)
            told += 1
    assert told >= 2 * (9 + 5) + 3 * 4
    ledger = Ledger(open_store(str(home.store)))
    drawn = [ledger.manifest("fidelity", key) for key in ledger.committed("fidelity")]
    ids = {one for manifest in drawn if manifest for one in json.loads(ledger.read(manifest, "fidelity.json"))["images"]["id"]}
    text = repr([(run.data.metrics, run.data.tags, run.data.params) for run in runs.values()])
    assert ids
    assert not any(one in text for one in ids)


def test_sync_finds_the_mirror_as_it_should_be(finished: Finished) -> None:
    home, grid = finished
    done = home.json("sync", grid)
    assert (done["written"], done["unchanged"]) == (0, 3)
