"""Random models with the shape of Stable Diffusion that tests build themselves: real parts, few channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

CLIP_TOKENIZER = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "clip_bpe_tokenizer"

SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
}


def sd_model(*, width: int = 32, seed: int = 0, act: str = "quick_gelu", **scheduler: Any) -> Any:
    """An SD-shaped model with 16x16 images, 8x8 latents and the real CLIP tokenizer; `scheduler` overrides the configuration."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from s2l_core.families.sd import StableDiffusion

    tokenizer = clip_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text = CLIPTextConfig(
            vocab_size=49408, hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, hidden_act=act
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=width,
            attention_head_dim=4,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=16,
        )
        encoder = CLIPTextModel(text)
    for part in (unet, vae, encoder):
        part.eval().requires_grad_(False)
    return StableDiffusion(unet=unet, text_encoder=encoder, vae=vae, tokenizer=tokenizer, scheduler_config={**SCHEDULER, **scheduler})


def clip_tokenizer() -> Any:
    """Stable Diffusion v1's tokenizer, or the test is skipped."""
    from transformers import CLIPTokenizer

    if not CLIP_TOKENIZER.is_dir():
        pytest.skip("the real CLIP tokenizer is not here (../shared/data/clip_bpe_tokenizer)")
    return CLIPTokenizer.from_pretrained(CLIP_TOKENIZER)
