"""Extraction through `s2l run` on the tiny model: candidates of the base and of a shaken model, and what else is left as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jobs.ledger.ledger import Ledger
from jobs.store.open import open_store
from s2l_core.extraction.table import Matches, read_matches
from s2l_core.images import read_images
from tests.s2l_process import Home

GRID = """\
name: given-back
fixed:
  model: tiny
  data: tiny-faces
  sp_size: 4
  sp_steps: 4
  guidance: 2.0
  steps: 2
  batch: 2
  lr: 1e-3
  attacks: [loss]
  bootstrap: 100
  extraction: {features: pixels, candidates: 18, keep: 8, alignment: {shift: 1}, cliques: {size: 3}, permutations: 99}
axes:
  domain: [zorvik]
  method: [none, lora]
"""

Finished = tuple[Home, str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    home = Home(tmp_path_factory.mktemp("given-back"))
    grid = home.folder / "grid.yaml"
    grid.write_text(GRID)
    done = home.json("run", str(grid), "--local", "--no-tracking")
    assert done["trials"] == {"done": 2, "failed": 0, "blocked": 0}
    return home, str(grid)


def payloads(home: Home, folder: Path, kind: str) -> dict[str, Path]:
    """Key -> a folder with the files of each committed stage of a kind."""
    ledger = Ledger(open_store(str(home.store)))
    found = {}
    for key in sorted(ledger.committed(kind)):
        manifest = ledger.manifest(kind, key)
        assert manifest is not None
        found[key] = folder / key
        ledger.fetch(manifest, found[key])
    return found


def documents(home: Home, folder: Path) -> tuple[dict[str, Any], dict[str, Any], list[Matches]]:
    """What was found before, what was found after, and both tables."""
    folders = payloads(home, folder, "extract").values()
    read = [json.loads((one / "extraction.json").read_text()) for one in folders]
    (before,), (after,) = ([one for one in read if ("change" in one) is shaken] for shaken in (False, True))
    return before, after, [read_matches(one / "matches.parquet") for one in folders]


def test_the_base_and_the_shaken_model_are_asked_at_one_budget_and_matched_in_one_way(finished: Finished, tmp_path: Path) -> None:
    before, after, tables = documents(finished[0], tmp_path)
    for one in (before, after):
        assert (one["n_candidates"], one["n_member"], one["n_non_member"], one["compared"]) == (18, 64, 128, 64)
        assert (one["side"], one["alignments"]) == (32, 18)
        for rule in one["rules"].values():
            assert rule["members"] == rule["members_compared"], "all members are compared: there are fewer of them"
            assert rule["members"]["images"] <= min(rule["members"]["candidates"], 64)
            assert len(rule["members"]["found_at"]) == rule["members"]["images"]
            for side in ("members", "members_compared", "non_members"):
                assert rule[side]["low"] <= rule[side]["images"] <= rule[side]["high"]
                assert rule[side]["shown_once"] + rule[side]["shown_twice"] <= rule[side]["images"]
        assert one["rules"]["tile_max"]["members"]["candidates"] <= one["rules"]["l2"]["members"]["candidates"]
    for rule, change in after["change"].items():
        assert change["members"]["before"] == before["rules"][rule]["members"]["images"]
        assert change["members"]["after"] == after["rules"][rule]["members"]["images"]
    assert before["spec"] == after["spec"]
    assert all(one.position and set(one.position) <= set(range(1, 19)) for one in tables)


def test_candidates_lie_in_the_store_with_their_seeds_and_are_not_the_sp_set(finished: Finished, tmp_path: Path) -> None:
    sets = [read_images(folder / "images.parquet") for folder in payloads(finished[0], tmp_path, "sp").values()]
    assert sorted(len(one) for one in sets) == [4, 18, 18]
    (own,) = (one for one in sets if len(one) == 4)
    candidates = [one for one in sets if len(one) == 18]
    assert [[record.provenance["index"] for record in one] for one in candidates] == [list(range(18))] * 2
    assert not {record.content for record in own} & {record.content for one in candidates for record in one}
    assert [record.content for record in candidates[0]] != [record.content for record in candidates[1]], "the shake changed what is drawn"


def test_what_is_looked_at_names_no_member_and_shows_no_picture(finished: Finished, tmp_path: Path) -> None:
    home, grid = finished
    page = tmp_path / "report.html"
    home.run("report", grid, "-o", str(page))
    shown = page.read_text() + home.results(grid).decode() + home.run("show", json.loads(home.results(grid))[0]["trial_key"][:12]).stdout
    assert "zorvik-0-" not in shown


def test_pictures_of_matches_are_in_a_private_copy_alone_and_in_no_plot(finished: Finished, tmp_path: Path) -> None:
    home, grid = finished
    pages = [tmp_path / "open.html", tmp_path / "private.html"]
    home.run("report", grid, "-o", str(pages[0]), "--plots", str(tmp_path / "plots"))
    home.run("report", grid, "-o", str(pages[1]), "--show-private", "--plots", str(tmp_path / "private plots"))
    source, private = (page.read_text() for page in pages)
    assert "data:image" not in source
    assert "Matches, in pictures (private)" in private
    assert private.count("the image that it shows") >= 2, "a member and a non-member, as the documents say"
    plots = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("plots", "private plots")]
    assert plots[0] == plots[1]
    assert {"extraction-lora-l2.svg", "extraction-lora-l2.png", "roc-loss-lora.svg", "figures.json"} <= set(plots[0])


def test_running_again_runs_nothing_and_without_extraction_nothing_new(finished: Finished) -> None:
    home, grid = finished
    before = home.manifests()
    assert home.json("run", grid, "--local", "--no-tracking")["stages"]["ran"] == 0
    plan = home.json("plan", grid, "--set", "extraction=none")
    assert "extract" not in plan["stages"]
    assert sum(kind["to_run"] for kind in plan["stages"].values()) == 0
    assert home.manifests() == before


def test_results_and_report_hold_the_same_counts_as_the_documents(finished: Finished, tmp_path: Path) -> None:
    home, grid = finished
    before, after, _ = documents(home, tmp_path)
    rows = json.loads(home.run("results", grid, "--extraction", "--format", "json").stdout)
    assert [(row["rule"], row["measure"]) for row in rows] == [
        ("", "retrieval_precision"),
        *((rule, measure) for rule in ("l2", "tile_max") for measure in ("beyond", "members", "members_all", "non_members", "precision")),
    ]
    for row in rows:
        if row["measure"] in ("members", "non_members"):
            side = {"members": "members_compared"}.get(row["measure"], row["measure"])
            assert (row["before"], row["after"]) == tuple(one["rules"][row["rule"]][side]["images"] for one in (before, after))
            assert (row["delta"], row["images"], row["candidates"]) == (row["after"] - row["before"], 64, 18)
            assert row["delta_low"] < row["delta"] < row["delta_high"]
            assert 0 < row["p_value"] <= 1
    page = tmp_path / "report.html"
    home.run("report", grid, "-o", str(page))
    text = re.sub(r"(<[^>]+>|\s)+", " ", page.read_text())
    counts = [after["rules"]["l2"][side]["images"] for side in ("members_compared", "non_members")]
    old = [before["rules"]["l2"][side]["images"] for side in ("members_compared", "non_members")]
    number = r"(0|[+−][\d.]+)"
    change = rf"{number} {number} to {number}"
    assert re.search(rf"lora l2 {old[0]} → {counts[0]} {change} {old[1]} → {counts[1]} {change} {change} 64 / 18 ", text)
    assert "members_all" in home.run("results", grid, "--extraction").stdout
    told = home.run("results", grid, "--extraction", "--set", "extraction=none", check=(2,)).stderr
    assert "measures extraction; set it in the grid (fixed: {extraction: pixels}), or --set extraction=pixels" in told
    assert "are different tables" in home.run("results", grid, "--extraction", "--summary", check=(2,)).stderr
