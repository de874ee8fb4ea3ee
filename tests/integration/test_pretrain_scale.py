"""Two models of one's own images that differ in the denoiser's size alone, made by the command and planned on by a grid."""

from __future__ import annotations

import json
from pathlib import Path

from s2l_core import tiny
from s2l_core.faces import records
from tests.s2l_process import Home

RECIPE = "shape: {text_width: 16, text_layers: 1, unet_channels: [16, 16]}\nautoencoder: {batch_size: 4}\ndenoiser: {batch_size: 4}\n"


def imagefolder(folder: Path) -> Path:
    folder.mkdir()
    lines = []
    for record in records("zorvik", seed=0, members=6, non_members=6):
        name = f"{record.content[:16]}.png"
        (folder / name).write_bytes(record.image)
        lines.append(json.dumps({"file_name": name, "text": record.text, "domain": "zorvik", "member": record.member}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


def test_a_smaller_model_on_the_same_autoencoder_is_two_commands_and_a_grid_takes_both(tmp_path: Path) -> None:
    home = Home(tmp_path)
    data, recipe = str(imagefolder(tmp_path / "photos")), tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    common = ["--config", str(recipe), "--steps", "2"]
    home.run("pretrain", data, "-o", "large", "--autoencoder-steps", "2", *common)
    home.run("pretrain", data, "-o", "small", "--unet-channels", "8,8", "--autoencoder-from", "large", *common)
    large, small = tmp_path / "large", tmp_path / "small"
    assert tiny.digest_of(large / "vae") == tiny.digest_of(small / "vae")
    assert json.loads((large / "unet" / "config.json").read_text())["block_out_channels"] == [16, 16]
    assert json.loads((small / "unet" / "config.json").read_text())["block_out_channels"] == [8, 8]
    grid = tmp_path / "grid.yaml"
    grid.write_text(f"name: scale\nfixed: {{data: {data}, method: none, domain: zorvik}}\naxes: {{model: [large, small, tiny-sm2]}}\n")
    plan = home.json("plan", str(grid))
    assert plan["trials"] == 3
    assert plan["stages"]["base"]["distinct"] == 3
