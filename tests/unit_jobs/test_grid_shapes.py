"""What planning reads of a model's folder without loading it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.grid.shapes import largest_useful_rank, timesteps, weight_shapes
from s2l_core.specs.adapters import LoraAdapter


def write_header(file: Path, shapes: dict[str, list[int]]) -> None:
    header = json.dumps(
        {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()} | {"__metadata__": {}}
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(len(header).to_bytes(8, "little") + header.encode())


def test_shapes_come_from_the_header_alone(tmp_path: Path) -> None:
    write_header(tmp_path / "w.safetensors", {"a.to_q.weight": [64, 32], "a.bias": [7]})
    assert weight_shapes(tmp_path / "w.safetensors") == {"a.to_q.weight": (64, 32), "a.bias": (7,)}


def test_the_largest_useful_rank_is_the_smallest_side_of_what_a_lora_updates(tmp_path: Path) -> None:
    write_header(tmp_path / "unet" / "w.safetensors", {"a.to_q.weight": [64, 32], "a.to_k.weight": [64, 4], "a.to_q.bias": [2]})
    write_header(tmp_path / "text_encoder" / "model.safetensors", {"b.q_proj.weight": [48, 48]})
    assert largest_useful_rank(tmp_path, LoraAdapter()) == 32
    assert largest_useful_rank(tmp_path, LoraAdapter(unet_targets=("to_k",))) == 4
    assert largest_useful_rank(tmp_path, LoraAdapter(unet_targets=())) == 48


def test_a_folder_that_tells_nothing_limits_nothing(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "w.safetensors").write_bytes(b"\xff" * 64)
    assert largest_useful_rank(tmp_path, LoraAdapter()) is None
    assert timesteps(tmp_path) is None


def test_a_file_that_claims_a_huge_header_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes((2**40).to_bytes(8, "little"))
    with pytest.raises(ValueError, match="is no safetensors file"):
        weight_shapes(tmp_path / "w.safetensors")


def test_timesteps_come_from_the_scheduler_s_configuration(tmp_path: Path) -> None:
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"num_train_timesteps": 250}')
    assert timesteps(tmp_path) == 250
