"""How strongly a model memorised what a prompt stands for, without any image: for choosing domains and prompts before a run.

Source: Wen et al., "Detecting, Explaining, and Mitigating Memorization in Diffusion Models" (arXiv 2407.21720): where a prompt makes the
model reproduce a training image, its conditional prediction stands far off from the unconditional one from the first step on.

Letters: n prompts, T timesteps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from s2l_core.attacks.engine import BATCH_SIZE, ContextFor, Denoise
from s2l_core.attacks.precision import exact_arithmetic
from s2l_core.attacks.secmi import ddim_step
from s2l_core.randomness import keyed_noise
from s2l_core.specs.memorisation import MemorisationSpec

NULL = ""


def memorisation(
    name: str,
    spec: MemorisationSpec,
    shape: Sequence[int],
    context_for: ContextFor,
    denoise: Denoise,
    alphas_cumprod: Tensor,
    *,
    batch_size: int = BATCH_SIZE,
    dtype: torch.dtype = torch.float32,
    say: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """A name's score beside the same of names that the model never saw: what memorisation.json holds.

    `score` is the mean over the prompts; `ratio` is it over the controls' mean, `rank` its place among the name and the controls (1: above
    them all). Neither is a test: names differ in more than in whether they were seen (docs/attacks.md).

    Args:
        name: takes `{name}`'s place in the prompts, as each control does.

    Raises:
        ValueError, FloatingPointError: as `memorisation_scores`.
    """
    names = [name, *spec.controls]
    texts = [prompt.replace("{name}", one) for one in names for prompt in spec.prompts]
    settings = spec.model_dump(include={"noises", "steps", "measured", "guidance"})
    found = memorisation_scores(
        texts, shape, context_for, denoise, alphas_cumprod, **settings, batch_size=batch_size, dtype=dtype, say=say
    ).reshape(len(names), len(spec.prompts))
    score, *others = found.mean(1).tolist()
    mean = sum(others) / len(others)
    return {
        "name": name,
        "spec": spec.model_dump(mode="json"),
        "prompts": [{"text": text, "score": value} for text, value in zip(texts, found[0].tolist(), strict=False)],
        "score": score,
        "controls": [{"name": one, "score": value} for one, value in zip(spec.controls, others, strict=True)],
        "control_mean": mean,
        "ratio": score / mean if mean else None,
        "rank": 1 + sum(other >= score for other in others),
    }


def memorisation_scores(
    prompts: Sequence[str],
    shape: Sequence[int],
    context_for: ContextFor,
    denoise: Denoise,
    alphas_cumprod: Tensor,
    *,
    noises: int = 4,
    steps: int = 50,
    measured: int = 1,
    guidance: float = 7.5,
    batch_size: int = BATCH_SIZE,
    dtype: torch.dtype = torch.float32,
    say: Callable[[float], None] | None = None,
) -> Tensor:
    """The size of each prompt's text-conditional noise, ||eps(x_t, t, prompt) - eps(x_t, t, "")||_2: float64 [n] on the CPU.

    Averaged over keyed noises that a picture begins with (the same for all prompts) and over the first timesteps on the way that DDIM goes
    from there with that prompt. Higher = more memorised; the empty prompt has 0. It costs 2 x noises x measured network calls a prompt.

    Args:
        shape: of one image or latent.
        context_for: encodes prompts; its answer must not depend on which prompts are asked for together.
        denoise: the model; sees tensors of `dtype`.
        alphas_cumprod: the schedule [T], on the model's device.
        noises: pictures begun per prompt. Published: 4.
        steps: timesteps of the whole way, evenly from T - 1 down to 0.
        measured: how many of them are gone and measured. Published: 1, 10 and all 50.
        guidance: classifier-free guidance on the way; of no effect where one timestep is measured.
        batch_size: pictures in a network call. It changes scores by rounding only.
        say: told the fraction done after each batch.

    Raises:
        ValueError: there are no prompts, or a number is out of its range.
        FloatingPointError: the model answers NaN or infinity.
    """
    _check(prompts, len(alphas_cumprod), noises, steps, measured)
    timesteps = way(len(alphas_cumprod), steps)[:measured]
    rows = [(prompt, draw) for prompt in prompts for draw in range(noises)]
    sizes: list[Tensor] = []
    with exact_arithmetic(alphas_cumprod.device.type):
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            x = torch.stack([keyed_noise(shape, "memorisation-noise", draw) for _, draw in part]).double().to(alphas_cumprod.device)
            contexts = context_for([prompt for prompt, _ in part]), context_for([NULL] * len(part))
            sizes.append(_sizes(x, contexts, timesteps, denoise, alphas_cumprod.double(), guidance, dtype).cpu())
            if say is not None:
                say(min(1.0, (start + batch_size) / len(rows)))
    found = torch.cat(sizes).reshape(len(prompts), noises).mean(1)
    if not torch.isfinite(found).all():
        raise FloatingPointError("the model answers NaN or infinity; look at the shake's loss curve, or lower its learning rate")
    return found


def way(count: int, steps: int) -> list[int]:
    """`steps` timesteps of a schedule of `count`, evenly from the noisiest to 0 (the noisiest alone where it is one)."""
    return [round((count - 1) * (1 - number / max(1, steps - 1))) for number in range(steps)]


def _sizes(
    x: Tensor, contexts: tuple[Tensor, Tensor], timesteps: list[int], denoise: Denoise, alphas: Tensor, guidance: float, dtype: torch.dtype
) -> Tensor:
    """Mean over the timesteps of the L2 norm of what the text adds, [rows], on the way from x [rows, ...]."""
    total = x.new_zeros(len(x))
    for number, t in enumerate(timesteps):
        at = torch.full((len(x),), t, dtype=torch.long, device=x.device)
        conditional, null = (denoise(x.to(dtype), at, context).double() for context in contexts)
        text = conditional - null
        total = total + text.flatten(1).norm(dim=1)
        if number + 1 < len(timesteps):
            x = ddim_step(x, null + guidance * text, float(alphas[t]), float(alphas[timesteps[number + 1]]))
    return total / len(timesteps)


def _check(prompts: Sequence[str], count: int, noises: int, steps: int, measured: int) -> None:
    if isinstance(prompts, str) or not prompts:
        raise ValueError(f"memorisation_scores needs a list of prompts; got {prompts!r}")
    if noises < 1 or not 1 <= measured <= steps <= count:
        raise ValueError(
            f"memorisation_scores needs noises >= 1 and 1 <= measured <= steps <= {count}, the timesteps of this model's schedule; "
            f"got noises={noises}, measured={measured}, steps={steps}"
        )
