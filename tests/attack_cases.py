"""What tests of attacks share: denoisers with known answers, and a small real UNet that counts. Letters: n images, T timesteps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import acos, sqrt
from typing import get_args

import torch
from torch import Tensor

from s2l_core.attacks.engine import AttackRun, run_attacks
from s2l_core.attacks.queries import EpsFn
from s2l_core.specs.attacks import ATTACK_PRESETS, AttackSpec, PFAMIAttack

LINEAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
SCALED_LINEAR = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
RAMP = torch.linspace(-1, 1, 384, dtype=torch.float64).reshape(2, 3, 8, 8)

N = 11
KEYS = [f"image-{i}" for i in range(N)]
PROMPTS = [f"photo of {'ann' if i % 2 else 'bob'}" for i in range(N)]
X0 = torch.randn(N, 4, 8, 8, generator=torch.Generator().manual_seed(7))
WIDTH = 16

SMALL: dict[str, AttackSpec] = {"pfami": PFAMIAttack(timesteps=(50, 300), crops=(0.9, 0.7))}
"""Attacks that cost a hundred calls by default, in few."""
_MEMBERS = get_args(get_args(AttackSpec)[0])
KINDS = [SMALL.get(member.model_fields["kind"].default) or member() for member in _MEMBERS if not member.learns]
LEARNING = [member() for member in _MEMBERS if member.learns]
FUSED = {name: SMALL.get(spec.kind, spec) for name, spec in ATTACK_PRESETS.items()}


def wave(x: Tensor, t: int) -> Tensor:
    return torch.sin(1.3 * x + t / 1000)


class Counted:
    """A denoiser that notes the timesteps it is asked at."""

    def __init__(self) -> None:
        self.timesteps: list[int] = []

    def __call__(self, x: Tensor, t: int) -> Tensor:
        self.timesteps.append(t)
        return wave(x, t)


def exact_denoiser(alphas_cumprod: Tensor) -> EpsFn:
    """E[eps | x_t] for images that are N(0, I): then x_t is N(0, I) at every t, and the answer is sqrt(1 - a_t) x_t."""
    return lambda x, t: sqrt(1 - float(alphas_cumprod[t])) * x


def angle(t: int, alphas_cumprod: Tensor = LINEAR) -> float:
    return acos(sqrt(float(alphas_cumprod[t])))


def close(actual: Tensor, expected: object, relative: float) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=relative, atol=0)


class Model:
    """A UNet2DConditionModel with random weights that counts its calls."""

    def __init__(self) -> None:
        from diffusers import UNet2DConditionModel

        torch.manual_seed(0)
        self.unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=8,
        ).eval()
        self.batches: list[tuple[int, set[int]]] = []
        self.gradients = False

    def denoise(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        self.batches.append((len(x), set(t.tolist())))
        eps: Tensor = self.unet(x, t, context.to(x)).sample
        self.gradients |= eps.requires_grad
        return eps

    def context_for(self, prompts: Sequence[str]) -> Tensor:
        rows = [torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(sum(map(ord, prompt)))) for prompt in prompts]
        return torch.stack(rows)


def run(
    model: Model,
    attacks: Mapping[str, AttackSpec],
    rows: Sequence[int] = range(N),
    *,
    batch_size: int = 4,
    dtype: torch.dtype = torch.float32,
) -> AttackRun:
    """The attacks on some of the N images, each with its own prompt."""
    index = list(rows)
    prompts = [PROMPTS[i] for i in index]
    model.batches.clear()
    return run_attacks(
        attacks,
        X0[index],
        [KEYS[i] for i in index],
        dict.fromkeys(attacks, prompts),
        model.context_for,
        model.denoise,
        SCALED_LINEAR,
        batch_size=batch_size,
        dtype=dtype,
    )
