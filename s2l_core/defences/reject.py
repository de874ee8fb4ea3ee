"""A guarded service: sets that look like the model's own samples are refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from s2l_core.defences.near import SIDE, Refused, near_own_samples, own_distance
from s2l_core.defences.setup import Scene, Setup
from s2l_core.specs.defences import REFUSED, RejectDefence
from s2l_core.training.fit import Curve


def defend(setup: Setup, spec: RejectDefence, scene: Scene) -> Setup:
    """The setup as it is, if the set may be trained on.

    Raises:
        Refused: too many images are too near to the model's own samples.
    """
    side = min(SIDE, scene.model.image_size)
    records = setup.terms[0].records
    distance = own_distance(scene.own, side=side) if spec.distance == "own" else spec.distance
    share = near_own_samples(records, scene.own, distance, side=side)
    if share > spec.share:
        raise Refused(
            f"{REFUSED}: {round(share * len(records))} of {len(records)} images ({share:.0%}) are nearer than {distance:.3g} to "
            f"one of {len(scene.own)} samples that the model itself drew; allowed: at most {spec.share:.0%}"
        )
    facts: dict[str, Any] = {"kind": spec.kind, "share": share, "allowed": spec.share, "distance": distance}
    facts |= {"images": len(records), "own_samples": len(scene.own)}

    def report(curve: Curve) -> dict[str, Any]:
        return facts

    return replace(setup, report=report)
