"""Dense: whole modules, saved whole, and what they moved by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from s2l_core.adapters import attach, save
from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import DenseAdapter
from tests.adapter_cases import HYPER, TOKEN, disturb, unchanged, weights_of

WHOLE = DenseAdapter(modules=("unet", "text_encoder", "vae"))


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


def test_it_saves_every_weight_of_its_modules_in_full_where_a_diffusers_folder_has_them(model: StableDiffusion, tmp_path: Path) -> None:
    with attach(model, (WHOLE,), seed=1) as on:
        disturb(on)
        unet = {name: value.detach().clone() for name, value in model.unet.named_parameters()}
        vae = {name: value.detach().clone() for name, value in model.vae.named_parameters()}
        save(on, tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.safetensors")) == [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    for part, expected in (("unet", unet), ("vae", vae)):
        saved = load_file(tmp_path / part / "diffusion_pytorch_model.safetensors")
        assert saved.keys() == expected.keys()
        assert all(torch.equal(saved[name], value) and value.dtype == torch.float32 for name, value in expected.items())
    with safe_open(tmp_path / "text_encoder" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}  # without it older transformers refuse the file


def test_it_leaves_rows_of_new_tokens_and_a_hypernetwork_to_those_who_train_them(model: StableDiffusion) -> None:
    expected = {name for name in weights_of(model) if not name.startswith("vae.")}
    with attach(model, (TOKEN, HYPER, DenseAdapter()), seed=1) as on:
        others = {name for name in on.parameters() if "learned_embeds" in name or "hypernetwork" in name}
        assert len(others) == 1 + 8
        assert set(on.parameters()) - others == expected


def test_the_norm_of_its_change_is_the_distance_moved(model: StableDiffusion) -> None:
    before = weights_of(model)
    with attach(model, (WHOLE,), seed=1) as on:
        assert on.change_norm() == 0
        disturb(on)
        after = weights_of(model)
        moved = math.sqrt(sum(float((after[name].double() - value.double()).square().sum()) for name, value in before.items()))
        assert on.change_norm() == pytest.approx(moved, rel=1e-12)
        assert moved > 1
