"""The document of one drawn set beside members and non-members: what fidelity.json holds. Letters: n drawn images, k compared images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2l_core.features import Extractor
from s2l_core.fidelity.frechet import frechet_distance
from s2l_core.fidelity.identity import Judge
from s2l_core.fidelity.neighbours import cosine, feature_l2, nearest_of, pixel_l2
from s2l_core.fidelity.permutation import Difference, mean_difference, nearest_difference, p_value
from s2l_core.images import ImageRecord, opened, square_pixels
from s2l_core.metrics.intervals import clopper_pearson, percentiles, stream
from s2l_core.specs.fidelity import FidelitySpec

Floats = NDArray[np.float64]

SIDES = ("members", "non_members")


def fidelity(
    drawn: Sequence[ImageRecord],
    members: Sequence[ImageRecord],
    non_members: Sequence[ImageRecord],
    extractor: Extractor,
    spec: FidelitySpec,
    *,
    judge: Judge | None = None,
    name: str = "",
) -> dict[str, Any]:
    """How near a drawn set is to members and to non-members. The order of the images changes no bit of it.

    Intervals are percentiles of a bootstrap over the drawn images: they say how far another set of that size could lie, with members and
    non-members as they are. Whether members are nearer than non-members is asked of permuted labels. Definitions: docs/fidelity.md.

    Args:
        judge: says whom an image shows, in the same features; None: no identity share.
        name: whom the drawn images should show, one of the judge's names.

    Raises:
        ValueError: a set has fewer than two images, an image cannot be decoded, or the judge does not know the name.
    """
    if min(len(drawn), len(members), len(non_members)) < 2:
        got = f"{len(drawn)} drawn images, {len(members)} members and {len(non_members)} non-members"
        raise ValueError(f"fidelity needs two images of each kind; got {got}")
    if judge is not None and name not in judge.names:
        raise ValueError(f"the judge does not know {name!r}; it knows {len(judge.names)} identities")
    from threadpoolctl import threadpool_limits

    drawn, members, non_members = map(_ordered, (drawn, members, non_members))
    with threadpool_limits(1):  # sums in one order, whatever the machine
        features = [extractor(records) for records in (drawn, members, non_members)]
        return _Measures(spec, len(drawn), min(len(members), len(non_members))).document(
            drawn, (members, non_members), features, extractor.prompt_similarity(drawn), judge, name
        )


def _ordered(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    return sorted(records, key=lambda record: (record.image_id, record.content))


class _Measures:
    """All numbers of one document with the bootstrap samples that they share."""

    def __init__(self, spec: FidelitySpec, n: int, k: int) -> None:
        self.spec, self.k = spec, k
        self._samples = stream(spec.seed, "fidelity").integers(0, n, size=(spec.bootstrap, n))

    def document(
        self,
        drawn: Sequence[ImageRecord],
        references: tuple[Sequence[ImageRecord], Sequence[ImageRecord]],
        features: Sequence[Floats],
        prompt: Floats | None,
        judge: Judge | None,
        name: str,
    ) -> dict[str, Any]:
        mine, theirs = features[0], features[1:]
        side = min(opened(drawn[0]).size)
        pixels = square_pixels(drawn, side)
        in_pixels = [pixel_l2(pixels, square_pixels(records, side)) for records in references]
        in_features = [feature_l2(mine, values) for values in theirs]
        angles = [cosine(mine, values) for values in theirs]
        right = None if judge is None else np.array([shown == name for shown in judge.assign(mine)])
        return {
            "features": self.spec.features.model_dump(mode="json"),
            "dimensions": int(mine.shape[1]),
            "n_drawn": len(drawn),
            "n_member": len(references[0]),
            "n_non_member": len(references[1]),
            "compared": self.k,
            "frechet": self._frechet(features),
            "nearest_pixel_l2": {"side": side, **self._nearest(in_pixels)},
            "nearest_feature_l2": self._nearest(in_features),
            "cosine": self._cosine(angles),
            "identity": None if right is None or judge is None else self._identity(right, judge),
            "prompt_similarity": None if prompt is None else self._mean(prompt),
            "images": {
                "id": [record.image_id for record in drawn],
                "prompt_sha256": [hashlib.sha256(record.text.encode()).hexdigest() for record in drawn],
                "nearest_member_pixel_l2": in_pixels[0].min(axis=1).tolist(),
                "nearest_member_feature_l2": in_features[0].min(axis=1).tolist(),
                "right_identity": None if right is None else right.tolist(),
                "prompt_similarity": None if prompt is None else prompt.tolist(),
            },
        }

    def _mean(self, values: Floats) -> dict[str, float]:
        low, high = percentiles(values[self._samples].mean(axis=1), level=self.spec.level)
        return {"value": float(values.mean()), "low": low, "high": high}

    def _nearest(self, distances: Sequence[Floats]) -> dict[str, Any]:
        """The mean distance to the nearest of k; the nearest pair of all; and whether members are nearer than labels at random."""
        found: dict[str, Any] = {name: self._mean(nearest_of(values, self.k)) for name, values in zip(SIDES, distances, strict=True)}
        found["difference"] = self._difference(nearest_difference(np.hstack(distances), distances[0].shape[1], self.k), distances)
        found["smallest"] = {name: float(values.min()) for name, values in zip(SIDES, distances, strict=True)}
        return found

    def _cosine(self, angles: Sequence[Floats]) -> dict[str, Any]:
        mean: dict[str, Any] = {name: self._mean(values.mean(axis=1)) for name, values in zip(SIDES, angles, strict=True)}
        mean["difference"] = self._difference(mean_difference(np.hstack(angles)), angles)
        nearest = {name: self._mean(-nearest_of(-values, self.k)) for name, values in zip(SIDES, angles, strict=True)}
        largest = {name: float(values.max()) for name, values in zip(SIDES, angles, strict=True)}
        return {"mean": mean, "nearest": nearest, "largest": largest}

    def _difference(self, difference: Difference, references: Sequence[Floats]) -> dict[str, float]:
        members, others = (values.shape[1] for values in references)
        random = stream(self.spec.seed, "labels")
        p = p_value(difference, members, others, permutations=self.spec.permutations, random=random)
        return {"value": difference(np.arange(members + others) < members), "p_value": p}

    def _frechet(self, features: Sequence[Floats]) -> dict[str, Any]:
        """At one size for all pairs, since the bias depends on it; and with all images, for comparison with what others publish."""
        size = min(len(values) for values in features)
        draws = self.spec.draws if any(len(values) > size for values in features) else 1
        cut = [
            [values[np.sort(stream(self.spec.seed, "frechet", draw, which).permutation(len(values))[:size])] for draw in range(draws)]
            for which, values in enumerate(features)
        ]
        pairs = {"members": (0, 1), "non_members": (0, 2), "members_to_non_members": (1, 2)}
        values = {
            name: np.array([frechet_distance(one, other) for one, other in zip(cut[left], cut[right], strict=True)])
            for name, (left, right) in pairs.items()
        }
        return {
            "size": size,
            "draws": draws,
            **{name: {"value": float(found.mean()), "spread": float(found.std())} for name, found in values.items()},
            "all_images": {name: frechet_distance(features[left], features[right]) for name, (left, right) in pairs.items()},
        }

    def _identity(self, right: NDArray[np.bool_], judge: Judge) -> dict[str, Any]:
        low, high = clopper_pearson(int(right.sum()), len(right), level=self.spec.level)
        known = {"identities": len(judge.names), "images": judge.images, "accuracy": judge.accuracy}
        return {"share": float(right.mean()), "low": low, "high": high, "chance": 1 / len(judge.names), "judge": known}
