"""What planning reads of a model's folder without loading it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.grid.shapes import ModelFolder, weight_shapes
from s2l_core import tiny
from s2l_core.specs.adapters import LoraAdapter, TextualInversionAdapter


def write_header(file: Path, shapes: dict[str, list[int]]) -> None:
    header = json.dumps(
        {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()} | {"__metadata__": {}}
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(len(header).to_bytes(8, "little") + header.encode())


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    unet = {"time_embedding.linear_1.weight": [2, 2], "a.to_q.weight": [64, 32], "a.to_v.weight": [64, 48], "a.to_k.weight": [64, 4]}
    write_header(
        tmp_path / "unet" / "w.safetensors",
        {**unet, "a.to_out.0.weight": [64, 64], "a.to_q.bias": [2], "conv.weight": [8, 16, 3, 3], "narrow.weight": [32, 2, 3, 3]},
    )
    text = {"b.q_proj.weight": [48, 48], "b.v_proj.weight": [48, 48], "embeddings.token_embedding.weight": [9, 48]}
    write_header(tmp_path / "text_encoder" / "model.safetensors", text)
    write_header(tmp_path / "vae" / "w.safetensors", {"mid.query.weight": [16, 16, 1, 1]})
    return ModelFolder(tmp_path)


def test_shapes_come_from_the_header_alone(tmp_path: Path) -> None:
    write_header(tmp_path / "w.safetensors", {"a.to_q.weight": [64, 32], "a.bias": [7]})
    assert weight_shapes(tmp_path / "w.safetensors") == {"a.to_q.weight": (64, 32), "a.bias": (7,)}


@pytest.mark.parametrize(
    ("adapter", "largest", "layer"),
    [
        (LoraAdapter(), 32, "unet.a.to_q"),
        (LoraAdapter(unet_targets=("to_v", "to_k")), 4, "unet.a.to_k"),
        (LoraAdapter(unet_targets=("conv",)), 8, "unet.conv"),
        (LoraAdapter(unet_targets=("narrow",), text_encoder_targets=()), 18, "unet.narrow"),
        (LoraAdapter(unet_targets=("to_out.0",), text_encoder_targets=()), 64, "unet.a.to_out.0"),
        (LoraAdapter(unet_targets=()), 48, "text_encoder.b.q_proj"),
        (LoraAdapter(unet_targets=(), text_encoder_targets=(), vae_targets=("to_q",)), 16, "vae.mid.to_q"),
    ],
)
def test_a_rank_up_to_the_smallest_side_of_what_is_updated_fits(
    folder: ModelFolder, adapter: LoraAdapter, largest: int, layer: str
) -> None:
    assert folder.refuse_lora(adapter.model_copy(update={"rank": largest})) is None
    told = f"rank {largest + 1} is larger than {layer}, whose rank is {largest} at most; give a rank of 1 to {largest}"
    assert folder.refuse_lora(adapter.model_copy(update={"rank": largest + 1})) == told


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (LoraAdapter(unet_targets=("to_qq",)), "no projection of the unet is called 'to_qq'; the nearest are to_q, to_v, to_k"),
        (
            LoraAdapter(text_encoder_targets=("token_embedding",)),
            "no projection of the text_encoder is called 'token_embedding'; the nearest are v_proj, q_proj",
        ),
    ],
)
def test_a_name_that_no_projection_has_is_told_with_the_nearest(folder: ModelFolder, adapter: LoraAdapter, message: str) -> None:
    assert folder.refuse_lora(adapter) == message


def test_the_packaged_model_s_vocabulary_is_known() -> None:
    folder = ModelFolder(tiny.packaged("tiny"))
    assert folder.refuse_tokens(TextualInversionAdapter(tokens=("<s2l>",), start_from="Face")) is None
    known = folder.refuse_tokens(TextualInversionAdapter(start_from="zorvick"))
    assert known is not None
    assert known.startswith("zorvick is no single token of the model's vocabulary, so that no row begins there; the nearest are zorvik, ")


@pytest.mark.parametrize(
    "files",
    [
        {"vocab.json": {"face</w>": 0, "<ada>": 1}},
        {"vocab.json": {"face</w>": 0}, "added_tokens.json": {"<ada>": 1}},
        {"tokenizer.json": {"model": {"vocab": {"face</w>": 0}}, "added_tokens": [{"id": 1, "content": "<ada>"}]}},
    ],
    ids=["vocabulary", "added later", "one file"],
)
def test_a_token_that_is_known_already_is_refused(tmp_path: Path, files: dict[str, object]) -> None:
    (tmp_path / "tokenizer").mkdir()
    for name, content in files.items():
        (tmp_path / "tokenizer" / name).write_text(json.dumps(content))
    folder = ModelFolder(tmp_path)
    assert folder.refuse_tokens(TextualInversionAdapter(tokens=("<bo>",), start_from="face")) is None
    told = folder.refuse_tokens(TextualInversionAdapter(tokens=("<bo>", "<ada>")))
    assert told == "the token <ada> is in the model's vocabulary already, and no row that is there may move; choose another"


def test_a_folder_that_tells_nothing_limits_nothing(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "w.safetensors").write_bytes(b"\xff" * 64)
    folder = ModelFolder(tmp_path)
    assert folder.refuse_lora(LoraAdapter(rank=9999)) is None
    assert folder.refuse_tokens(TextualInversionAdapter(start_from="face")) is None
    assert folder.timesteps is None


def test_a_file_that_claims_a_huge_header_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes((2**40).to_bytes(8, "little"))
    with pytest.raises(ValueError, match="is no safetensors file"):
        weight_shapes(tmp_path / "w.safetensors")


def test_timesteps_come_from_the_scheduler_s_configuration(tmp_path: Path) -> None:
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"num_train_timesteps": 250}')
    assert ModelFolder(tmp_path).timesteps == 250
