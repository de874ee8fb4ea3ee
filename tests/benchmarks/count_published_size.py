"""What counted operations predict for the caches at the published size: Stable Diffusion v1 at 512 pixels. Nothing is computed.

    python tests/benchmarks/count_published_size.py

The networks have v1's shapes and no values (torch's meta device). Textual inversion is left out: it costs about what a LoRA does, for its
gradient too passes through UNet and text encoder. Where each image has its own prompt, a batch is taken to hold no prompt twice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from jobs.grid.presets import METHODS
from s2l_core import tiny
from s2l_core.adapters import attach
from s2l_core.families.sd import StableDiffusion

TOKENS, PIXELS, LATENTS = 77, 512, 64
sys.modules["s2l_core.adapters.attached"].marks_of = lambda _model: {}  # type: ignore[attr-defined]  # by which a base is known again: these networks have no values to know
COUNTED = ("dreambooth", "lora", "lora+dreambooth", "hypernetwork")


def sd_v1() -> StableDiffusion:
    """Stable Diffusion v1's networks by their published configurations, without values."""
    given = StableDiffusion.load(tiny.packaged("tiny"))
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=LATENTS, cross_attention_dim=768)  # the rest are the class's defaults
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            sample_size=PIXELS,
        )
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12))
    return StableDiffusion(unet=unet, text_encoder=text, vae=vae, tokenizer=given.tokenizer, scheduler_config=given.scheduler_config)


def teraflop(run: Callable[[], Tensor | None]) -> float:
    """Operations of a forward pass, and of the backward pass where something is trained, in 10^12."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        found = run()
        if found is not None and found.requires_grad:
            found.mean().backward()
    return float(counter.get_total_flops()) / 1e12


def pieces(model: StableDiffusion) -> tuple[float, float, float]:
    """Per image: the UNet's step, the text encoder's, and encoding the image."""
    noisy, t = torch.empty(1, 4, LATENTS, LATENTS, device="meta"), torch.zeros(1, dtype=torch.int64, device="meta")
    ids, pixels = torch.zeros(1, TOKENS, dtype=torch.int64, device="meta"), torch.empty(1, 3, PIXELS, PIXELS, device="meta")
    context = model.text_encoder(ids).last_hidden_state
    whole = teraflop(lambda: model.unet(noisy, t, model.text_encoder(ids).last_hidden_state).sample)
    shown = context.detach().requires_grad_(context.requires_grad)
    unet = teraflop(lambda: model.unet(noisy, t, shown).sample)
    return unet, whole - unet, teraflop(lambda: model.vae.encode(pixels).latent_dist.mean)


def main() -> None:
    print(f"Stable Diffusion v1 shapes, {PIXELS} pixels; 10^12 operations an image: a step of UNet and of text encoder, encoding the image")
    print(f"{'method':20}{'UNet':>8}{'text':>8}{'encoding':>10}{'predicted':>11}")
    for name in COUNTED:
        preset = METHODS[name]
        model = sd_v1()
        with attach(model, preset.adapters, seed=0) as on:
            unet, text, encoding = pieces(model)
            texts = 0.0 if not on.trains("text_encoder") else 1 / preset.batch if preset.objective.kind == "dreambooth" else 1.0
        ratio = (unet + text + encoding) / (unet + texts * text)
        print(f"{name:20}{unet:8.3f}{text:8.3f}{encoding:10.3f}{ratio:11.2f}")


if __name__ == "__main__":
    main()
