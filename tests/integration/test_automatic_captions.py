"""Automatic captions through `s2l run` on the tiny model: by the rule of colours and by a small BLIP, beside those that were there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from jobs.ledger.ledger import Ledger
from jobs.store.open import open_store
from s2l_core.captioners.table import AutomaticCaptions, read_captions
from s2l_core.scores import read_scores
from tests.blip_models import save_blip
from tests.s2l_process import Home

GRID = """\
name: worded
fixed:
  model: tiny
  data: tiny-faces
  method: none
  attacks: [{kind: loss, timesteps: [200], draws: 1, name: loss}, {kind: clid, timesteps: [200], name: clid}]
  bootstrap: 100
axes:
  domain: [zorvik, mellune]
  caption: [CAPTIONS]
"""
COLOURS = "{kind: automatic, captioner: colours}"
BLIP = "{kind: automatic, captioner: {kind: blip, model: ./blip, max_tokens: 9}}"
LABELS = ["own", "domain", "automatic colours", 'automatic blip(max_tokens=9,model="./blip")']

Finished = tuple[Home, str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A grid without automatic captions, run; then the one with them, which took over what was there."""
    home = Home(tmp_path_factory.mktemp("worded"))
    save_blip(home.folder / "blip")
    grid = home.folder / "grid.yaml"
    grid.write_text(GRID.replace("CAPTIONS", "own, domain"))
    before = home.json("run", str(grid), "--local", "--no-tracking")
    assert before["trials"] == {"done": 4, "failed": 0, "blocked": 0}
    old = home.manifests()
    grid.write_text(GRID.replace("CAPTIONS", f"own, domain, {COLOURS}, {BLIP}"))
    plan = home.json("plan", str(grid))
    to_run = {kind: count["to_run"] for kind, count in plan["stages"].items()}
    assert to_run["data"] == to_run["blind"] == 0, "what was there keeps its key"
    assert (to_run["captions"], to_run["score"], to_run["metrics"], to_run["pooled"]) == (4, 8, 8, 4)
    after = home.json("run", str(grid), "--local", "--no-tracking")
    assert after["trials"] == {"done": 8, "failed": 0, "blocked": 0}
    assert old.items() <= home.manifests().items()
    return home, str(grid)


def captions(home: Home, folder: Path) -> list[AutomaticCaptions]:
    ledger = Ledger(open_store(str(home.store)))
    found = []
    for key in sorted(ledger.committed("captions")):
        manifest = ledger.manifest("captions", key)
        assert manifest is not None
        ledger.fetch(manifest, folder / key)
        found.append(read_captions(folder / key / "captions.parquet"))
    return found


def test_every_image_of_a_domain_is_captioned_once_for_each_captioner(finished: Finished, tmp_path: Path) -> None:
    found = captions(finished[0], tmp_path)
    assert sorted(one.captioner["kind"] for one in found) == ["blip", "blip", "colours", "colours"]
    assert {len(one.texts) for one in found} == {64 + 128}
    assert all(len(set(one.texts.values())) > 3 for one in found)


def test_running_again_runs_nothing(finished: Finished) -> None:
    home, grid = finished
    before = home.manifests()
    assert home.json("run", grid, "--local", "--no-tracking")["stages"]["ran"] == 0
    assert home.manifests() == before


def test_scores_say_by_whom_their_captions_were_written(finished: Finished, tmp_path: Path) -> None:
    ledger = Ledger(open_store(str(finished[0].store)))
    told = []
    for key in ledger.committed("score"):
        manifest = ledger.manifest("score", key)
        assert manifest is not None
        ledger.fetch(manifest, tmp_path / key)
        caption = read_scores(tmp_path / key / "scores.parquet").facts["caption"]
        told.append(caption["captioner"]["kind"] if caption["kind"] == "automatic" else caption["kind"])
        if caption["kind"] == "automatic":
            assert manifest.made["attacks_together"] == 2
            assert manifest.made["network_calls"] == 5, "the loss is one of CLiD's five"
    assert {kind: told.count(kind) for kind in set(told)} == {"own": 4, "domain": 4, "colours": 4, "blip": 4}


def test_results_have_a_row_for_each_caption_and_no_two_are_pooled(finished: Finished) -> None:
    home, grid = finished
    rows = json.loads(home.results(grid))
    areas = {(row["domain"], row["caption"], row["attack"]): row["after"] for row in rows if row["metric"] == "auc"}
    assert sorted(caption for domain, caption, attack in areas if (domain, attack) == ("zorvik", "loss")) == sorted(LABELS)
    assert len(areas) == 2 * 4 * 2
    assert len({area for (domain, _, attack), area in areas.items() if (domain, attack) == ("zorvik", "loss")}) == 4
    summary = home.run("results", grid, "--summary", "--format", "csv").stdout
    assert all(f"caption = {label}"[:40] in summary.replace('""', '"') for label in LABELS), summary


def test_what_is_looked_at_holds_no_caption(finished: Finished, tmp_path: Path) -> None:
    home, grid = finished
    page = tmp_path / "report.html"
    home.run("report", grid, "-o", str(page))
    key = json.loads(home.results(grid))[0]["trial_key"][:12]
    shown = page.read_text() + home.results(grid).decode() + home.run("show", key).stdout + home.run("status", grid).stdout
    texts = {text for one in captions(home, tmp_path / "fetched") for text in one.texts.values() if len(text) > 8}
    assert texts
    assert not [text for text in texts if text in shown]
    text = re.sub(r"(<[^>]+>|\s)+", " ", page.read_text())
    for label in ("own", "domain", "automatic colours"):
        assert f"caption = {label}" in text
