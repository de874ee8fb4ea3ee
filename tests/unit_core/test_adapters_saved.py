"""A folder with adapters: what is missing, too much, broken or of another model is told, and the model stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from s2l_core.adapters import attach, attach_saved, save
from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import LoraAdapter
from tests.adapter_cases import CASES, unchanged, wider

MANY = CASES["dense, token, lora, hypernetwork"].adapters
LORA_FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


@pytest.fixture
def folder(model: StableDiffusion, tmp_path: Path) -> Path:
    with attach(model, MANY, seed=1) as on:
        save(on, tmp_path)
    return tmp_path


def test_each_adapter_has_its_own_files(folder: Path) -> None:
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "adapter.json",
        "unet/diffusion_pytorch_model.safetensors",
        "learned_embeds.safetensors",
        LORA_FILE,
        "hypernetwork.safetensors",
    }


@pytest.mark.parametrize("name", ["learned_embeds.safetensors", "unet/diffusion_pytorch_model.safetensors", LORA_FILE])
def test_a_missing_file_is_named(model: StableDiffusion, folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"{folder}: {name} is missing, which adapter.json calls for; .*make the shake again"):
        attach_saved(model, folder)


def test_a_tensor_too_few_or_too_many_is_named(model: StableDiffusion, folder: Path) -> None:
    tensors = load_file(folder / LORA_FILE)
    lost = min(tensors)
    save_file({name: value for name, value in tensors.items() if name != lost}, folder / LORA_FILE)
    with pytest.raises(ValueError, match=f"the weights are for another base model: {LORA_FILE}: 1 names differ, such as {lost}"):
        attach_saved(model, folder)
    save_file(tensors | {"unet.more": torch.zeros(1)}, folder / LORA_FILE)
    with pytest.raises(ValueError, match=f"the weights are for another base model: {LORA_FILE}: 1 names differ, such as unet.more"):
        attach_saved(model, folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(model: StableDiffusion, folder: Path) -> None:
    save_file({"<s2l>": torch.zeros(24)}, folder / "learned_embeds.safetensors")
    with pytest.raises(ValueError, match=r"another base model: learned_embeds.safetensors: <s2l> is \(24,\), the model's is \(16,\)"):
        attach_saved(model, folder)


def test_a_file_that_is_no_safetensors_is_told(model: StableDiffusion, folder: Path) -> None:
    (folder / "hypernetwork.safetensors").write_bytes(b"PK\x03\x04 a pickle in a zip, as web UIs write it")
    with pytest.raises(ValueError, match=r"hypernetwork\.safetensors is no safetensors file"):
        attach_saved(model, folder)


@pytest.mark.parametrize("text", ["", "{}", '{"adapters": [{"kind": "lora", "rang": 1}], "seed": 0}', '{"adapters": []}'])
def test_a_description_that_is_none_is_told(model: StableDiffusion, folder: Path, text: str) -> None:
    (folder / "adapter.json").write_text(text)
    with pytest.raises(ValueError, match=r"adapter\.json does not describe adapters as S2L saves them: .*make the shake again"):
        attach_saved(model, folder)


def test_a_folder_that_is_none_is_told(model: StableDiffusion, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"adapter\.json does not describe adapters"):
        attach_saved(model, tmp_path / "nowhere")


def test_a_lora_of_a_rank_that_only_another_base_has_room_for_is_refused(model: StableDiffusion, tmp_path: Path) -> None:
    with attach(wider(), (LoraAdapter(rank=20),), seed=1) as on:
        save(on, tmp_path)
    with pytest.raises(ValueError, match="the weights are for another base model: rank 20 is larger than unet"):
        attach_saved(model, tmp_path)
