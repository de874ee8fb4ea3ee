"""DP-SGD (arXiv 1607.00133): clipped gradients of Poisson samples with noise, and the epsilon that they cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from s2l_core.defences.accounting import epsilon_of, noise_multiplier_for
from s2l_core.defences.private_gradient import PrivateGradient, name_of_fit, poisson
from s2l_core.defences.setup import Scene, Setup
from s2l_core.specs.defences import DpDefence
from s2l_core.training.fit import Curve

PROTECTS = (
    "This epsilon protects the images that the model was fine-tuned on (the SP set), one image each. It says nothing about the images that "
    "the base model was pre-trained on."
)
PROTECTS_MEMBERS = (
    "This epsilon protects the members that the model was fine-tuned on again, one image each, from what this fine-tuning adds. It says "
    "nothing about what the base model knew of them already."
)
CONDITIONS = (
    "It is about the fine-tuned weights alone, not about the loss curve, and it holds against whoever does not know the seed that the "
    "noise and the batches were drawn from. A further model that is trained on the same images spends an epsilon of its own, which adds up."
)


def defend(setup: Setup, spec: DpDefence, scene: Scene) -> Setup:
    """Poisson samples, clipped and noisy gradients; the facts hold epsilon and what it means.

    Raises:
        ValueError: delta is too large for the set, a batch is larger than the set, the precision is fp16, or the budget cannot be met.
    """
    images, training = len(setup.terms[0].records), setup.training
    check_precision(setup, spec.kind)
    if training.batch_size > images:
        raise ValueError(f"defence dp samples batches of {training.batch_size} from {images} images; give a batch_size of at most {images}")
    if spec.delta >= 1 / images:
        raise ValueError(
            f"delta is {spec.delta:g} and the set has {images} images: publishing one of them outright would be allowed; give a delta far "
            f"below {1 / images:.2g}"
        )
    rate, steps = training.batch_size / images, training.steps
    noise = spec.noise_multiplier
    if noise is None:
        assert spec.epsilon is not None
        noise = noise_multiplier_for(spec.epsilon, delta=spec.delta, sample_rate=rate, steps=max(1, steps), accountant=spec.accountant)
    epsilon_of(noise, delta=spec.delta, sample_rate=rate, steps=steps, accountant=spec.accountant)  # refused now, not after training
    fit = name_of_fit(setup, scene)

    def report(curve: Curve) -> dict[str, Any]:
        done = len(curve.step)
        return {
            "kind": spec.kind,
            "epsilon": epsilon_of(noise, delta=spec.delta, sample_rate=rate, steps=done, accountant=spec.accountant),
            "target_epsilon": spec.epsilon,
            "delta": spec.delta,
            "noise_multiplier": noise,
            "clip": spec.clip,
            "sample_rate": rate,
            "steps": done,
            "images": images,
            "accountant": spec.accountant,
            "protects": PROTECTS,
            "conditions": CONDITIONS,
        }

    return replace(
        setup,
        training=training.model_copy(update={"clip_norm": None}),
        sampler=poisson(images, rate, scene.seed, fit),
        gradient=PrivateGradient(scene.on.parameters(), clip=spec.clip, noise_multiplier=noise, batch_size=training.batch_size, fit=fit),
        report=report,
    )


def check_precision(setup: Setup, kind: str) -> None:
    """Refuse fp16, whose loss scale would be clipped and its gradients with it."""
    if setup.training.precision == "fp16":
        raise ValueError(f"defence {kind} does not go with precision fp16, which scales the loss; use fp32 or bf16")
