"""What became of a model's drawing between two documents of `fidelity`: the same prompts and noise, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from s2l_core.metrics.intervals import percentiles, stream
from s2l_core.specs.fidelity import FidelitySpec

PER_IMAGE = ("nearest_member_pixel_l2", "nearest_member_feature_l2", "right_identity", "prompt_similarity")
FRECHET = ("members", "non_members")


def change(before: Mapping[str, Any], after: Mapping[str, Any], spec: FidelitySpec) -> dict[str, Any]:
    """After minus before, image by image where both drew the image: value, and the percentiles of a bootstrap over the pairs.

    Frechet distances have no images to pair: their difference stands without an interval, and only where both were taken at one size, since
    their bias depends on it. Prompt similarity is left out where the prompts differ (a learned token means nothing to the judge).

    Raises:
        ValueError: no image is in both, or the documents are about different features.
    """
    if before["features"] != after["features"]:
        raise ValueError(f"before was measured in {before['features']}, after in {after['features']}; both must be in one kind of features")
    places = [{name: index for index, name in enumerate(document["images"]["id"])} for document in (before, after)]
    shared = sorted(places[0].keys() & places[1].keys())
    if not shared:
        raise ValueError("the two sets have no image in common; both must be drawn with one seed")
    samples = stream(spec.seed, "change").integers(0, len(shared), size=(spec.bootstrap, len(shared)))
    asked = [
        [document["images"]["prompt_sha256"][place[name]] for name in shared]
        for document, place in zip((before, after), places, strict=True)
    ]
    asked_alike = asked[0] == asked[1]
    found: dict[str, Any] = {"pairs": len(shared)}
    for measure in PER_IMAGE:
        values = [document["images"][measure] for document in (before, after)]
        if values[0] is None or values[1] is None or (measure == "prompt_similarity" and not asked_alike):
            continue
        old, new = (np.array([float(one[place[name]]) for name in shared]) for one, place in zip(values, places, strict=True))
        low, high = percentiles((new - old)[samples].mean(axis=1), level=spec.level)
        found[measure] = {
            "before": float(old.mean()),
            "after": float(new.mean()),
            "delta": float((new - old).mean()),
            "low": low,
            "high": high,
        }
    if before["frechet"]["size"] == after["frechet"]["size"]:
        found["frechet"] = {name: after["frechet"][name]["value"] - before["frechet"][name]["value"] for name in FRECHET}
    return found
