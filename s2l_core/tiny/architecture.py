"""A small model with the shape of Stable Diffusion: real diffusers and transformers parts, few channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.pretrain import SmallShape
from s2l_core.tiny.vocabulary import tokenizer_for

SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
"""The noise schedule of Stable Diffusion v1."""


def untrained(shape: SmallShape, words: Sequence[str], *, seed: int) -> StableDiffusion:
    """A model with random weights that depend on `seed` alone; the global random state is left as it was.

    Args:
        words: each of them is one token (`s2l_core.tiny.vocabulary.words_of`).
    """
    tokenizer = tokenizer_for(words, tokens=shape.tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StableDiffusion(
            vae=_autoencoder(shape),
            text_encoder=_text_encoder(shape, tokenizer),
            unet=_unet(shape),
            tokenizer=tokenizer,
            scheduler_config=SCHEDULER,
        )


def _autoencoder(shape: SmallShape) -> AutoencoderKL:
    levels = len(shape.vae_channels)
    return AutoencoderKL(
        sample_size=shape.image_size,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=shape.vae_channels,
        latent_channels=shape.latent_channels,
        norm_num_groups=shape.norm_groups,
    )


def _text_encoder(shape: SmallShape, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.text_width,
        intermediate_size=4 * shape.text_width,
        projection_dim=shape.text_width,
        num_hidden_layers=shape.text_layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def _unet(shape: SmallShape) -> UNet2DConditionModel:
    """Cross-attention on every level but the innermost, as in Stable Diffusion."""
    inner = len(shape.unet_channels) - 1
    return UNet2DConditionModel(
        sample_size=shape.image_size // 2 ** (len(shape.vae_channels) - 1),
        in_channels=shape.latent_channels,
        out_channels=shape.latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * inner + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * inner,
        block_out_channels=shape.unet_channels,
        layers_per_block=1,
        cross_attention_dim=shape.text_width,
        attention_head_dim=shape.heads,
        norm_num_groups=shape.norm_groups,
    )
