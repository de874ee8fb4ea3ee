"""Knobs chosen on calibration domains, from plan to results: the choice is the best there, is used as it stands, and is made once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.s2l_process import Home

GRID = """name: chosen
fixed: {lr: 1e-3, steps: 2, batch: 4, sp_size: 4, sp_steps: 2, guidance: 2.0, bootstrap: 100, attacks: [ATTACKS]}
axes:
  domain: [tavrox]
  method: [none, lora]
"""
CHOOSE = "loss, {kind: choose, of: sima, t: [400, 100, 20], on: [mellune, zorvik]}"
Finished = tuple[Home, Path]


def written(folder: Path, name: str, attacks: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(GRID.replace("name: chosen", f"name: {name}").replace("ATTACKS", attacks))
    return path


def payload(home: Home, manifest: dict[str, Any], name: str) -> bytes:
    sha256 = next(one["sha256"] for one in manifest["payloads"] if one["name"] == name)
    return (home.store / "blobs" / sha256[:2] / sha256).read_bytes()


def choice_of(home: Home) -> dict[str, Any]:
    (path,) = (home.store / "manifests" / "choice").glob("*.json")
    document: dict[str, Any] = json.loads(payload(home, json.loads(path.read_text()), "choice.json"))
    return document


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("chosen")
    home, grid = Home(folder), written(folder, "chosen", CHOOSE)
    home.run("run", str(grid), "--local", "--no-tracking")
    return home, grid


def rows(home: Home, grid: Path, attack: str) -> list[dict[str, Any]]:
    found = [row for row in json.loads(home.results(str(grid))) if row["attack"] == attack]
    return [{name: value for name, value in row.items() if name not in ("trial_key", "attack")} for row in found]


def test_the_choice_is_the_best_on_the_calibration_domains(finished: Finished) -> None:
    document = choice_of(finished[0])
    means = [candidate["mean_auc"] for candidate in document["candidates"]]
    assert document["domains"] == ["mellune", "zorvik"]
    assert [candidate["attack"]["t"] for candidate in document["candidates"]] == [400, 100, 20]
    assert document["attack"] == document["candidates"][means.index(max(means))]["attack"]
    assert len(set(means)) == 3
    assert {
        (count, others) for one in document["candidates"] for count, others in zip(one["n_member"], one["n_non_member"], strict=True)
    } == {(64, 128)}


def test_the_chosen_attacks_results_are_those_of_the_attack_that_was_chosen(finished: Finished, tmp_path: Path) -> None:
    home, grid = finished
    t = choice_of(home)["attack"]["t"]
    same = written(tmp_path, "same", f"loss, {{kind: sima, t: {t}, name: it}}")
    home.run("run", str(same), "--local", "--no-tracking")
    chosen = rows(home, grid, "sima-chosen")
    assert len(chosen) == 2 * 4
    assert sorted(map(str, chosen)) == sorted(map(str, rows(home, same, "it")))
    assert any(row["delta"] != 0 for row in chosen)


def test_running_again_runs_nothing(finished: Finished) -> None:
    home, grid = finished
    assert "nothing to run" in home.run("run", str(grid), "--local", "--no-tracking").stdout


def test_another_domain_is_attacked_as_was_chosen_before(finished: Finished) -> None:
    home, grid = finished
    plan = home.json("plan", str(grid), "--set", "domain=tavrox,quilbo")
    assert plan["stages"]["choice"] == {"distinct": 1, "done": 1, "to_run": 0}
    assert plan["stages"]["score"]["to_run"] == 4


def test_a_trial_and_the_report_name_what_was_chosen(finished: Finished, tmp_path: Path) -> None:
    home, grid = finished
    t = choice_of(home)["attack"]["t"]
    key = json.loads(home.results(str(grid)))[0]["trial_key"]
    assert f"(t = {t}) against" in home.run("show", key, "--grid", str(grid)).stdout
    home.run("report", str(grid), "-o", str(tmp_path / "report.html"))
    assert "chosen on mellune, zorvik: mean AUC" in (tmp_path / "report.html").read_text()
