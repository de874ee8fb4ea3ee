"""Every method, matched noise and defences through `s2l run`, with what their models draw measured; then all that looks at them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.s2l_process import Home

GRID = """\
name: every
fixed:
  model: tiny
  data: tiny-faces
  sp_size: 6
  sp_steps: 2
  guidance: 2.0
  steps: 2
  batch: 2
  lr: 1e-3
  attacks: [loss]
  bootstrap: 100
  fidelity: pixels
axes:
  domain: [zorvik]
  method: [none, dreambooth, end2end, lora, textual-inversion+lora, hypernetwork, gaussian]
include:
  - {method: gaussian, sigma: match, match_method: end2end}
  - {method: lora, defence: [{kind: dp, epsilon: 8, delta: 1e-3}, mix, {kind: reject, distance: 1.0}]}
"""

Finished = tuple[Home, str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    home = Home(tmp_path_factory.mktemp("every"))
    grid = home.folder / "every.yaml"
    grid.write_text(GRID)
    done = home.run("run", str(grid), "--local", "--no-tracking", "--json", check=(3,))  # the guard refuses its set, which is a failure
    assert json.loads(done.stdout)["trials"] == {"done": 10, "failed": 1, "blocked": 0}
    return home, str(grid)


def test_each_method_has_its_rows_and_the_conditions_that_its_kind_asks_for(finished: Finished) -> None:
    home, grid = finished
    rows = json.loads(home.results(grid))
    attacks: dict[str, set[str]] = {}
    for row in rows:
        attacks.setdefault(row["method"], set()).add(row["attack"])
    assert attacks["end2end"] == {"loss", "loss@base-vae"}
    assert attacks["textual-inversion+lora"] == {"loss", "loss@own-caption"}
    assert attacks["dreambooth"] == attacks["none"] == {"loss"}
    assert attacks["gaussian"] == {"loss", "loss@base-vae"}, "noise as long as end2end's change lies in the autoencoder too"
    assert len({row["trial_key"] for row in rows}) == 10
    moved = {row["method"]: row["delta"] for row in rows if row["metric"] == "auc" and row["attack"] == "loss"}
    assert moved["none"] == 0
    assert any(value != 0 for value in moved.values())


def test_what_the_models_draw_is_a_table_of_its_own(finished: Finished) -> None:
    home, grid = finished
    rows = json.loads(home.run("results", grid, "--fidelity", "--format", "json").stdout)
    measures = ("frechet.members", "frechet.non_members", "nearest_member_feature_l2", "nearest_member_pixel_l2", "right_identity")
    assert len(rows) == 9 * len(measures)
    assert [row["measure"] for row in rows[: len(measures)]] == list(measures)
    assert all(row["features"] == "pixels" and row["n_pairs"] == 6 and row["n_rejected"] is None for row in rows)
    for row in rows:
        assert row["delta"] == pytest.approx(row["after"] - row["before"], abs=1e-9)
        assert (row["delta_low"] is None) == row["measure"].startswith("frechet")
        assert row["delta_low"] is None or row["delta_low"] <= row["delta"] <= row["delta_high"]
    assert len({row["before"] for row in rows if row["measure"] == "right_identity"}) == 1, "before is the same base for all"
    assert any(row["delta"] != 0 for row in rows if row["measure"] == "nearest_member_pixel_l2")
    (table,) = csv.reader(io.StringIO(home.run("results", grid, "--fidelity", "--format", "csv").stdout.splitlines()[0]))
    assert table == list(rows[0])
    home.run("results", grid, "--fidelity", "--format", "parquet", "-o", "drawn.parquet")
    assert pq.read_table(home.folder / "drawn.parquet").to_pylist() == rows
    shown = home.run("results", grid, "--fidelity")
    assert "right_identity" in shown.stdout
    assert "1 of 10 trials are not in this table" in shown.stderr


def test_a_grid_that_measures_no_fidelity_says_how_to(finished: Finished) -> None:
    home, grid = finished
    told = home.run("results", grid, "--fidelity", "--set", "fidelity=none", check=(2,)).stderr
    assert "measures fidelity; set it in the grid (fixed: {fidelity: pixels}), or --set fidelity=pixels" in told


def test_status_and_report_tell_the_refusal_the_epsilon_and_what_it_protects(finished: Finished, tmp_path: Path) -> None:
    home, grid = finished
    (failure,) = home.json("status", grid)["failures"]
    assert failure["message"].startswith("the set is refused: 6 of 6 images")
    page = tmp_path / "report.html"
    home.run("report", grid, "-o", str(page))
    text = page.read_text()
    assert "refused: 1 of 1 set" in text
    assert "This epsilon protects the images that the model was fine-tuned on (the SP set)" in text
    assert 'id="utility"' in text


def test_running_again_tries_nothing_that_is_done(finished: Finished) -> None:
    home, grid = finished
    before = home.manifests()
    again = json.loads(home.run("run", grid, "--local", "--no-tracking", "--json", check=(3,)).stdout)
    assert again["stages"]["ran"] == 0
    assert home.manifests() == before
