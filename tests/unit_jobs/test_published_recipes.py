"""The published recipes train on a model of Stable Diffusion v1's shape: its blocks and names, random weights, few channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.grid.presets import METHODS
from jobs.grid.read import read_grid
from jobs.grid.shapes import ModelFolder
from jobs.plan.expand import expand
from jobs.stages.specs import ShakeStage
from s2l_core.adapters import attach_saved, save
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, encode_png
from s2l_core.randomness import keyed_noise
from s2l_core.shake import shake
from s2l_core.specs.adapters import LoraAdapter
from tests.sd_models import SCHEDULER, clip_tokenizer
from tests.stated_inputs import shake_spec

LARGEST_RANK = 16
CHANGED = [name for name in METHODS if name != "none"]


def small_sd_v1() -> Any:
    """Four levels, the three upper ones with cross-attention, two layers each, eight heads, a four-level autoencoder: as SD v1 has them."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = clip_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32, 32, 32),
            layers_per_block=2,
            down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
            up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
            cross_attention_dim=32,
            attention_head_dim=8,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=64,
        )
        text = CLIPTextModel(
            CLIPTextConfig(vocab_size=49408, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
        )
    for part in (unet, vae, text):
        part.eval().requires_grad_(False)
    return StableDiffusion(unet=unet, text_encoder=text, vae=vae, tokenizer=tokenizer, scheduler_config=SCHEDULER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("sd-v1")
    small_sd_v1().save(found)
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> StableDiffusion:
    torch.set_num_threads(1)
    return StableDiffusion.load(folder)


@pytest.fixture(scope="module")
def recipes() -> dict[str, ShakeStage]:
    """Method -> the shake that `paper-table1 --profile published` asks for."""
    plan = expand(read_grid("paper-table1", ["domain=person-01", "seed=0"], "published"))
    found: dict[str, ShakeStage] = {}
    for trial in plan.trials:
        if trial.shake is not None and trial.axes["train_on"] == "sp" and trial.axes["sigma"] is None:
            found.setdefault(trial.axes["method"], shake_spec(trial))
    return found


def drawn(number: int) -> ImageRecord:
    pixels = (keyed_noise((64, 64, 3), "pixels", number) * 50 + 128).clamp(0, 255).byte().numpy()
    return ImageRecord(f"sp-{number}", encode_png(pixels), "photo of person-01, professional photo", "person-01", None)


@pytest.mark.parametrize("method", CHANGED)
def test_one_step_of_every_published_recipe_changes_the_model_and_is_attached_again(
    model: StableDiffusion, recipes: dict[str, ShakeStage], method: str, tmp_path: Path
) -> None:
    spec = recipes[method]
    shaken = shake(
        model,
        [drawn(number) for number in range(4)] if method != "gaussian" else [],
        adapters=spec.adapters,
        objective=spec.objective,
        training=spec.training.model_copy(update={"steps": min(spec.training.steps, 1)}),
        name=spec.name,
        seed=spec.seed,
        micro_batch=2,
    )
    with shaken.on:
        before = {name: value.clone() for name, value in shaken.on.state().items()}
        save(shaken.on, tmp_path)
    with attach_saved(model, tmp_path) as again:
        assert before
        assert all(torch.equal(value, before[name]) for name, value in again.state().items())
    assert all(torch.isfinite(torch.tensor(shaken.curve.loss)))
    assert len(shaken.curve.step) == (0 if method == "gaussian" else 1)


def test_planning_sees_of_the_saved_folder_what_training_sees(folder: Path) -> None:
    known = ModelFolder(folder)
    assert known.refuse_lora(LoraAdapter(rank=LARGEST_RANK)) is None
    assert "rank is 16 at most" in str(known.refuse_lora(LoraAdapter(rank=LARGEST_RANK + 1)))
    assert known.timesteps == 1000
