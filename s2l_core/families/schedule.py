"""The noise schedule that a scheduler's configuration describes, in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from s2l_core.families.sd_folder import PREDICTIONS


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the defaults of its scheduler class filled in.

    Raises:
        ValueError: diffusers has no such scheduler, or the prediction type is unknown.
    """
    whole = dict(scheduler_class(config).from_config(dict(config)).config)
    prediction = whole.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ValueError(f"the scheduler's prediction_type is {prediction!r}; allowed: {', '.join(PREDICTIONS)}")
    return {**whole, "prediction_type": prediction}


def scheduler_class(config: Mapping[str, Any]) -> Any:
    """The diffusers scheduler that a configuration names.

    Raises:
        ValueError: diffusers has no scheduler of that name.
    """
    import diffusers

    name = str(config.get("_class_name", ""))
    found = getattr(diffusers, name, None) if "Scheduler" in name else None
    if found is None or not hasattr(found, "step"):
        raise ValueError(f"scheduler_config.json names {name or 'no class'!r}, which diffusers does not have; try DDIMScheduler")
    return found


def alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """abar_t for t = 0..T-1, float64 [T].

    Args:
        config: as given by `with_defaults`.

    Raises:
        ValueError: the kind of schedule is unknown.
    """
    betas = _betas(config)
    cumulative = torch.cumprod(1.0 - betas, dim=0)
    return _zero_terminal_snr(cumulative) if config.get("rescale_betas_zero_snr") else cumulative


def _betas(config: Mapping[str, Any]) -> Tensor:
    steps = int(config["num_train_timesteps"])
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float64)
    kind, start, end = config["beta_schedule"], float(config["beta_start"]), float(config["beta_end"])
    if kind == "linear":
        return torch.linspace(start, end, steps, dtype=torch.float64)
    if kind == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    if kind == "squaredcos_cap_v2":
        return torch.tensor([min(1 - _cosine((i + 1) / steps) / _cosine(i / steps), 0.999) for i in range(steps)], dtype=torch.float64)
    raise ValueError(f"the scheduler's beta_schedule is {kind!r}; allowed: linear, scaled_linear, squaredcos_cap_v2")


def _cosine(progress: float) -> float:
    """arXiv 2102.09672, eq. 17."""
    return math.cos((progress + 0.008) / 1.008 * math.pi / 2) ** 2


def _zero_terminal_snr(cumulative: Tensor) -> Tensor:
    """arXiv 2305.08891, algorithm 1: shift and scale sqrt(abar) so that nothing of the image is left at the last step."""
    root = cumulative.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
