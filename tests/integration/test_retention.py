"""Weights that were dropped to save space: results stay, nothing is called corrupt, and what needs them makes them again, to the bit."""

from __future__ import annotations

import json
from pathlib import Path

from tests.s2l_process import Home

GRID = """\
name: kept
fixed: {model: tiny, data: tiny-faces, sp_size: 4, sp_steps: 2, steps: 2, batch: 2, lr: 1.0e-2, alpha: rank, bootstrap: 100, attacks: [pia]}
axes: {domain: [zorvik], method: [dreambooth, lora], seed: [0]}
"""


def weights(home: Home) -> dict[str, bool]:
    """Adapter kind -> are its weights in the store? All of them are, or none."""
    found = {}
    for path in (home.store / "manifests" / "shake").glob("*.json"):
        manifest = json.loads(path.read_text())
        files = [payload for payload in manifest["payloads"] if payload["name"].endswith(".safetensors")]
        kind = manifest["spec"]["adapters"][0]["kind"]
        assert len(files) == {"dense": 2, "lora": 1}[kind]
        (found[kind],) = {(home.store / "blobs" / payload["sha256"][:2] / payload["sha256"]).exists() for payload in files}
    return found


def shake_digests(home: Home) -> dict[str, str]:
    return {path.stem: json.loads(path.read_text())["digest"] for path in (home.store / "manifests" / "shake").glob("*.json")}


def test_each_policy_keeps_what_it_says_and_a_new_attack_makes_dropped_weights_again(tmp_path: Path) -> None:
    home, grid = Home(tmp_path), tmp_path / "kept.yaml"
    grid.write_text(GRID)
    home.run("run", str(grid), "--local", "--no-tracking")
    assert weights(home) == {"dense": True, "lora": True}
    digests = shake_digests(home)
    results, manifests = home.results(str(grid)), home.manifests()

    said = home.run("run", str(grid), "--local", "--no-tracking", "--keep", "small").stderr
    assert "dropped the weights of 1 shakes" in said
    assert weights(home) == {"dense": False, "lora": True}
    home.run("verify")
    assert home.results(str(grid)) == results
    assert home.json("run", str(grid), "--no-tracking", "--keep", "small")["stages"]["ran"] == 0

    home.run("run", str(grid), "--local", "--no-tracking", "--keep", "none")
    assert weights(home) == {"dense": False, "lora": False}
    home.run("verify")

    grid.write_text(GRID.replace("attacks: [pia]", "attacks: [pia, loss]"))
    done = home.run("run", str(grid), "--local", "--no-tracking")
    assert "was dropped to save space" in done.stderr
    assert weights(home) == {"dense": True, "lora": True}
    assert shake_digests(home) == digests
    again = home.manifests()
    assert {name for name in manifests if "/shake/" not in name and again[name] != manifests[name]} == set()
    home.run("verify")
    pia = [row for row in json.loads(home.results(str(grid))) if row["attack"] == "pia"]
    before = json.loads(results)
    strip = [{key: value for key, value in row.items() if key != "trial_key"} for row in pia]
    assert sorted(map(str, strip)) == sorted(str({key: value for key, value in row.items() if key != "trial_key"}) for row in before)
