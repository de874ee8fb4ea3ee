"""The same pipeline on real photographs: a base trained on half of each person's pictures, then SP set, LoRA + DreamBooth, attacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.orl_folder import build_orl_folder, orl_source
from tests.s2l_process import Home

GRID = """\
name: real-photographs
fixed: {{model: {model}, data: {data}, sp_size: 16, sp_steps: 8, steps: 20, batch: 4, lr: 5.0e-4, alpha: rank, bootstrap: 200}}
axes:
  domain: [s1, s2, s3]
  method: [none, lora+dreambooth]
  rank: [4]
  seed: [0]
when:
  rank: {{method: lora+dreambooth}}
"""


@pytest.mark.slow
def test_a_grid_runs_on_real_photographs_and_reports_what_the_sample_can_say(tmp_path: Path) -> None:
    if orl_source() is None:
        pytest.skip("the ORL photographs are not here (../shared/data/orl_faces)")
    home = Home(tmp_path)
    data, model, grid = tmp_path / "photos", tmp_path / "model", tmp_path / "grid.yaml"
    build_orl_folder(data)
    home.run("pretrain", str(data), "-o", str(model), "--steps", "60", "--autoencoder-steps", "60")
    grid.write_text(GRID.format(model=model, data=data))
    plan = home.json("plan", str(grid))
    assert plan["trials"] == 6
    assert plan["stages"]["data"]["distinct"] == 3
    answer = home.json("run", str(grid), "--workers", "2")
    assert answer["trials"] == {"done": 6, "failed": 0, "blocked": 0}
    rows = json.loads(home.run("results", str(grid), "--format", "json").stdout)
    assert {row["n_member"] for row in rows} == {5}
    assert {row["n_non_member"] for row in rows} == {5}
    unshaken = [row for row in rows if row["method"] == "none"]
    assert unshaken
    assert all(row["delta"] == 0 and row["verdict"] == "none" for row in unshaken)
    shaken = [row for row in rows if row["method"] != "none" and row["metric"] == "auc"]
    assert any(row["delta"] != 0 for row in shaken)
    page = tmp_path / "report.html"
    home.run("report", str(grid), "-o", str(page))
    text = page.read_text()
    assert "non-members" in text
    assert "data:image/png" not in text, "a picture of a person is in a report that was not asked to show any"
    manifests = home.manifests()
    moved = tmp_path / "elsewhere"
    data.rename(moved)
    grid.write_text(GRID.format(model=model, data=moved))
    assert home.json("run", str(grid))["stages"]["ran"] == 0, "where a folder lies is no part of its meaning"
    assert home.manifests() == manifests
