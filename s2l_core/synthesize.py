"""Drawing a set of images with a model. Image i depends on the seed and on i, never on the batch it was drawn in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from s2l_core.families.schedule import scheduler_class
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, encode_png, to_uint8
from s2l_core.randomness import generator, keyed_noise, keyed_uniform
from s2l_core.safety import SafetyChecker
from s2l_core.specs.synthesis import SynthesisSpec
from s2l_core.specs.training import Precision

Say = Callable[[float, str], None]

DECODED_PIXELS = 2**20
"""About as many pixels are decoded at once: the autoencoder needs far more memory per image than the UNet."""


def synthesize(
    model: StableDiffusion,
    spec: SynthesisSpec,
    *,
    start: int = 0,
    stop: int | None = None,
    batch_size: int = 16,
    checker: SafetyChecker | None = None,
    on_rejected: Callable[[int], None] = lambda index: None,
    say: Say = lambda fraction, message: None,
) -> Iterator[ImageRecord]:
    """Images start..stop-1 of the set that `spec` describes, as PNG with prompt and provenance; rejected ones are left out.

    Args:
        stop: the first image not to draw; None: the end of the set.
        batch_size: images drawn together; another size changes a pixel by rounding at most.
        checker: the model's safety checker, where the spec asks for one.
        on_rejected: told the index of each image that the checker rejects.
        say: told the fraction of start..stop that is done, after each batch.

    Raises:
        ValueError: start and stop are outside the set, the scheduler cannot take that many steps, or the spec's `safety_checker` and
            `checker` do not go together.
    """
    if spec.safety_checker != (checker is not None):
        given = "none" if checker is None else "a checker"
        raise ValueError(f"safety_checker is {spec.safety_checker} and {given} is given; give a checker where it is on, and only there")
    stop = spec.images if stop is None else stop
    if not 0 <= start <= stop <= spec.images:
        raise ValueError(f"images {start} to {stop} are asked for; the set has images 0 to {spec.images}")
    for first in range(start, stop, batch_size):
        indices = range(first, min(first + batch_size, stop))
        yield from _batch(model, spec, indices, checker, on_rejected)
        say((indices.stop - start) / (stop - start), f"image {indices.stop} of {spec.images}")


def prompt_of(spec: SynthesisSpec, index: int) -> str:
    """The prompt of image `index`: a template drawn by its weight, with the name put in."""
    left = keyed_uniform("prompt", spec.seed, index) * sum(template.weight for template in spec.prompts)
    for template in spec.prompts:
        left -= template.weight
        if left < 0:
            return template.text.replace("{name}", spec.name)
    return spec.prompts[-1].text.replace("{name}", spec.name)


@torch.no_grad()
def _batch(
    model: StableDiffusion, spec: SynthesisSpec, indices: range, checker: SafetyChecker | None, on_rejected: Callable[[int], None]
) -> list[ImageRecord]:
    prompts = [prompt_of(spec, index) for index in indices]
    latents = sample_latents(
        model,
        prompts,
        torch.stack([keyed_noise(model.latent_shape, "latents", spec.seed, index) for index in indices]),
        spec,
        [generator("eta", spec.seed, index) for index in indices],
    )
    together = max(1, DECODED_PIXELS // model.image_size**2)
    pixels = to_uint8(torch.cat([model.decode(part).cpu() for part in torch.split(latents, together)]))
    rejected = checker.rejects(pixels) if checker else [False] * len(prompts)
    for index in (index for index, out in zip(indices, rejected, strict=True) if out):
        on_rejected(index)
    checked = {"safety_checker": "passed"} if checker else {}
    return [
        ImageRecord(
            image_id=f"sp-{spec.seed}-{index:06d}",
            image=encode_png(image),
            text=prompt,
            domain=spec.name,
            member=None,
            provenance={"source": "synthesized", "prompt": prompt, "index": index, "seed": spec.seed, **checked},
        )
        for index, prompt, image, out in zip(indices, prompts, pixels, rejected, strict=True)
        if not out
    ]


@torch.no_grad()
def sample_latents(
    model: StableDiffusion, prompts: Sequence[str], noise: Tensor, spec: SynthesisSpec, generators: list[torch.Generator]
) -> Tensor:
    """Clean latents [n, c, h, w] from unit noise of that shape: what diffusers' pipeline computes for the same prompts and noise.

    Guidance w follows diffusers: eps = eps_negative + w (eps_prompt - eps_negative), and at w <= 1
    the prompt's own eps alone, in half the calls.

    Args:
        generators: one an image, for schedulers that add noise on the way.

    Raises:
        ValueError: the scheduler cannot take that many steps.
    """
    scheduler = _scheduler(model, spec)
    guided = spec.guidance > 1
    context = model.encode_text([*[spec.negative_prompt] * len(prompts), *prompts] if guided else prompts)
    latents: Tensor = noise.to(model.device, torch.promote_types(model.dtype, torch.float32)) * scheduler.init_noise_sigma
    options = _step_options(scheduler, spec, generators)
    with _autocast(model.device.type, spec.precision):
        for t in scheduler.timesteps:
            seen = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, t)
            made = model.predict(seen, t, context)
            if guided:
                negative, positive = made.chunk(2)
                made = negative + spec.guidance * (positive - negative)
            latents = scheduler.step(made, t, latents, **options).prev_sample
    return latents


def _scheduler(model: StableDiffusion, spec: SynthesisSpec) -> Any:
    """The sampler with the two settings that diffusers' pipeline forces on every one of them."""
    from diffusers import DDIMScheduler

    cls = DDIMScheduler if spec.scheduler == "ddim" else scheduler_class(model.scheduler_config)
    known = inspect.signature(cls.__init__).parameters
    settings = {name: value for name, value in model.scheduler_config.items() if name in known}
    settings.update({name: value for name, value in {"clip_sample": False, "steps_offset": 1}.items() if name in known})
    scheduler = cls(**settings)
    if spec.steps > scheduler.config.num_train_timesteps:
        raise ValueError(
            f"steps is {spec.steps}; the model was trained on {scheduler.config.num_train_timesteps} timesteps, which is the most"
        )
    scheduler.set_timesteps(spec.steps, device=model.device)
    return scheduler


def _step_options(scheduler: Any, spec: SynthesisSpec, generators: list[torch.Generator]) -> dict[str, Any]:
    known = inspect.signature(scheduler.step).parameters
    if spec.eta and "eta" not in known:
        raise ValueError(f"eta is {spec.eta}, which {type(scheduler).__name__} does not know; use scheduler: ddim, or eta: 0")
    options = {"eta": spec.eta, "generator": generators if len(generators) > 1 else generators[0]}
    return {name: value for name, value in options.items() if name in known}


def _autocast(device: str, precision: Precision) -> AbstractContextManager[Any]:
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return nullcontext() if half is None else torch.autocast(device, dtype=half)
