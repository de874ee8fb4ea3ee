"""Whom an image shows: a judge of identities that has seen neither members nor drawn sets. Letters: n images, d features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from s2l_core.features import Extractor
from s2l_core.images import ImageRecord
from s2l_core.metrics.intervals import stream

Floats = NDArray[np.float64]

IMAGES_EACH = 128
"""Images of each identity that a judge is fitted on, where there are more."""


@dataclass(frozen=True, eq=False)
class Judge:
    """The nearest class mean in the metric of the pooled covariance (a linear discriminant, shrunk as Ledoit and Wolf say).

    Attributes:
        names: the identities it knows, sorted.
        images: how many it has seen.
        accuracy: the share it gets right of images that it was not fitted on.
    """

    names: tuple[str, ...]
    images: int
    accuracy: float
    _classifier: Any

    @classmethod
    def fit(cls, features: Floats, names: Sequence[str], *, folds: int = 5, seed: int = 0) -> Self:
        """A judge of features [n, d] of images that show `names`; all identities are equally likely to it.

        Args:
            folds: of the cross-validation behind `accuracy`; fewer where an identity has fewer images.
            seed: deals the images out to the folds.

        Raises:
            ValueError: there are fewer than two identities, or an identity has fewer than two images.
        """
        from threadpoolctl import threadpool_limits

        label = np.array(names)
        known, counts = np.unique(label, return_counts=True)
        least = min(counts.tolist(), default=0)
        if len(known) < 2 or least < 2:
            raise ValueError(f"a judge of identities needs two of them, with two images each; got {len(known)}, the least with {least}")
        with threadpool_limits(1):  # sums in one order, whatever the machine
            fold = _deal(label, min(folds, least), stream(seed, "judge"))
            right = np.zeros(len(label), dtype=bool)
            for number in np.unique(fold):
                held_out = fold == number
                right[held_out] = _fitted(features[~held_out], label[~held_out]).predict(features[held_out]) == label[held_out]
            return cls(tuple(known.tolist()), len(label), float(right.mean()), _fitted(features, label))

    def assign(self, features: Floats) -> list[str]:
        """The identity that each of the images [n, d] shows."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            return [str(name) for name in self._classifier.predict(features)]


def judge_of(sets: Mapping[str, Sequence[ImageRecord]], extractor: Extractor, *, folds: int = 5, seed: int = 0) -> Judge:
    """A judge fitted on images by the identity they show, at most IMAGES_EACH of each, chosen by the seed.

    Raises:
        ValueError: there are fewer than two identities, or an identity has fewer than two images.
    """
    chosen: list[ImageRecord] = []
    names: list[str] = []
    for name in sorted(sets):
        ordered = sorted(sets[name], key=lambda record: (record.image_id, record.content))
        kept = np.sort(stream(seed, "judge", name).permutation(len(ordered))[:IMAGES_EACH])
        chosen += [ordered[index] for index in kept]
        names += [name] * len(kept)
    return Judge.fit(extractor(chosen), names, folds=folds, seed=seed)


def _fitted(features: Floats, label: NDArray[np.str_]) -> Any:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    count = len(np.unique(label))
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[1 / count] * count).fit(features, label)


def _deal(label: NDArray[np.str_], folds: int, random: np.random.Generator) -> NDArray[np.int64]:
    """A fold for each image, every identity dealt out evenly."""
    fold = np.empty(len(label), dtype=np.int64)
    for name in np.unique(label):
        mine = np.flatnonzero(label == name)
        fold[random.permutation(mine)] = np.arange(len(mine)) % folds
    return fold
