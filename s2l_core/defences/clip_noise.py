"""The clipping and the noise of DP-SGD on ordinary batches, without accounting: a contrast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from s2l_core.defences.dp import check_precision
from s2l_core.defences.private_gradient import PrivateGradient, name_of_fit
from s2l_core.defences.setup import Scene, Setup
from s2l_core.specs.defences import ClipNoiseDefence
from s2l_core.training.fit import Curve

PROTECTS = "Nothing is promised: the batches are no random samples and nothing is accounted for, so that no epsilon can be stated."


def defend(setup: Setup, spec: ClipNoiseDefence, scene: Scene) -> Setup:
    """Clipped and noisy gradients of the batches that the training has anyway.

    Raises:
        ValueError: the precision is fp16.
    """
    check_precision(setup, spec.kind)

    def report(curve: Curve) -> dict[str, Any]:
        found = {"kind": spec.kind, "clip": spec.clip, "noise_multiplier": spec.noise_multiplier, "steps": len(curve.step)}
        return {**found, "epsilon": None, "accountant": None, "protects": PROTECTS}

    rule = PrivateGradient(
        scene.on.parameters(),
        clip=spec.clip,
        noise_multiplier=spec.noise_multiplier,
        batch_size=setup.training.batch_size,
        fit=name_of_fit(setup, scene),
    )
    return replace(setup, training=setup.training.model_copy(update={"clip_norm": None}), gradient=rule, report=report)
