"""Randomness as an argument: every draw is named by what it is for, so that order, batches and workers change nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def generator(*parts: str | int) -> torch.Generator:
    """A generator on the CPU whose stream depends on the parts alone; `"1"` and `1` are different parts.

    torch's CPU generator keeps 32 bits of a seed: among 10,000 generators two are equal with a probability of about 1 %. Where that
    matters (one draw per image and timestep), use `keyed_noise`, which keeps 128 bits.
    """
    return torch.Generator("cpu").manual_seed(_number(parts, 8))


def keyed_noise(shape: Sequence[int], *parts: str | int) -> Tensor:
    """Standard normal noise, float32 on the CPU, that depends on shape and parts alone."""
    return torch.from_numpy(_stream(parts).standard_normal(tuple(shape), dtype=np.float32))


def keyed_uniforms(count: int, *parts: str | int) -> Tensor:
    """Numbers in [0, 1), float64 [count] on the CPU, that depend on the parts alone (and a longer draw begins with a shorter one)."""
    return torch.from_numpy(_stream(parts).random(count))


def keyed_betas(alpha: float, count: int, *parts: str | int) -> Tensor:
    """Draws from Beta(alpha, alpha), float64 [count] on the CPU, that depend on alpha, count and parts alone."""
    return torch.from_numpy(_stream(parts).beta(alpha, alpha, count))


def keyed_uniform(*parts: str | int) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    return _number(parts, 8) / 2**64


def _stream(parts: Sequence[str | int]) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=_number(parts, 16)))


def _number(parts: Sequence[str | int], size: int) -> int:
    text = json.dumps(list(parts), ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size], "big")
