"""What tells members from non-members without any model: sizes, formats, compression, brightness, captions.

An attack on such a split measures the split. Each feature is tested (Mann-Whitney U for numbers, chi-square for categories, Holm's
correction over all tests of a check), and the classifier of the blind baseline reads all of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.sources.imagefolder import ImageFile
from s2l_core.images import peek

FEWEST = 8
"""Groups with fewer members or non-members are not tested on their own."""
SIGNIFICANT = 0.05
_EXPECTED_COUNT = 5.0
_RESAMPLES = 9999
_FOLDS = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """What a blind observer sees of one image: numbers and categories by name."""

    numbers: dict[str, float]
    categories: dict[str, str]


@dataclass(frozen=True)
class Test:
    """One comparison of members with non-members.

    Attributes:
        group: "all domains" or a domain.
        effect: for numbers, the chance that a member's is larger (0.5: no difference); for categories, Cramér's V (0: none).
        p_holm: p after Holm's correction over all tests of the check.
        members, non_members: the median, or the most frequent category with its share.
    """

    group: str
    feature: str
    test: str
    effect: float
    p: float
    p_holm: float
    members: str
    non_members: str


@dataclass(frozen=True)
class BlindAUC:
    """How well a logistic regression on all features tells members it was not fitted on; p is one-sided, of permuted labels."""

    auc: float
    p: float
    n_member: int
    n_non_member: int


def features_of(file: ImageFile, image: bytes, pixels: NDArray[np.uint8]) -> Features:
    """The features of one image.

    Args:
        image: the file's bytes.
        pixels: decoded, uint8 [h, w, 3].
    """
    opened = peek(image)
    width, height = file.size
    grey = pixels.mean(axis=2, dtype=np.float32) / np.float32(255.0)
    numbers = {
        "width": float(width),
        "height": float(height),
        "aspect ratio": width / height,
        "bytes per pixel": len(image) / (width * height),
        "brightness": float(grey.mean(dtype=np.float64)),
        "contrast": float(grey.std(dtype=np.float64)),
        "saturation": float((pixels.max(axis=2) - pixels.min(axis=2)).mean()) / 255.0,
        "sharpness": _sharpness(grey),
        "caption length": float(len(file.row.text)),
    }
    categories = {
        "format": file.format,
        "colour mode": opened.mode,
        "size": f"{width}x{height}",
        "JPEG quantisation": _quantisation(opened),
        "camera metadata": "yes" if opened.getexif() else "no",
    }
    return Features(numbers, categories)


def compare(groups: Mapping[str, tuple[Sequence[Features], Sequence[Features]]]) -> list[Test]:
    """Every feature of every group, members against non-members; features that never vary are left out.

    Args:
        groups: name -> (members, non-members).
    """
    raw = [
        test
        for name, (members, non_members) in groups.items()
        if min(len(members), len(non_members)) >= FEWEST
        for test in (*_number_tests(name, members, non_members), *_category_tests(name, members, non_members))
    ]
    corrected = holm([test.p for test in raw])
    return [Test(**{**vars(test), "p_holm": p}) for test, p in zip(raw, corrected, strict=True)]


def blind_auc(members: Sequence[Features], non_members: Sequence[Features], looks: NDArray[np.int64] | None = None) -> BlindAUC | None:
    """The cross-validated AUC of a logistic regression; None with too few images.

    Args:
        looks: the same number for images that look the same, members first; they stay in one fold. None: all look different.
    """
    if min(len(members), len(non_members)) < max(FEWEST, _FOLDS):
        return None
    from s2l_core.blind import separation

    table = _table([*members, *non_members])
    label = np.repeat([True, False], [len(members), len(non_members)])
    groups = np.arange(len(label)) if looks is None else looks
    found = separation(table, label, groups, folds=_FOLDS, random=np.random.default_rng(0))
    return BlindAUC(found.auc, found.p_above, len(members), len(non_members))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, running = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = running
    return corrected


def _sharpness(grey: NDArray[np.float32]) -> float:
    """The mean squared difference of neighbouring pixels: falls with blur, scaling up and strong compression."""
    steps = [np.square(np.diff(grey, axis=axis)) for axis in (0, 1)]
    return float(sum(step.sum(dtype=np.float64) for step in steps)) / max(1, sum(step.size for step in steps))


def _quantisation(image: Image.Image) -> str:
    tables = getattr(image, "quantization", None)
    return hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:8] if tables else "none"


def _number_tests(group: str, members: Sequence[Features], non_members: Sequence[Features]) -> list[Test]:
    from scipy.stats import mannwhitneyu

    tests = []
    for name in members[0].numbers:
        inside = np.array([features.numbers[name] for features in members])
        outside = np.array([features.numbers[name] for features in non_members])
        if np.ptp(np.concatenate([inside, outside])) > 0:
            found = mannwhitneyu(inside, outside)
            effect = float(found.statistic) / (len(inside) * len(outside))
            shown = f"{np.median(inside):.4g}", f"{np.median(outside):.4g}"
            tests.append(Test(group, name, "Mann-Whitney U", effect, float(found.pvalue), 1.0, *shown))
    return tests


def _category_tests(group: str, members: Sequence[Features], non_members: Sequence[Features]) -> list[Test]:
    tests = []
    for name in members[0].categories:
        inside = Counter(features.categories[name] for features in members)
        outside = Counter(features.categories[name] for features in non_members)
        values = sorted({*inside, *outside})
        if len(values) > 1:
            effect, p = _chi_square(np.array([[counts[value] for value in values] for counts in (inside, outside)]))
            tests.append(Test(group, name, "chi-square", effect, p, 1.0, _most(inside), _most(outside)))
    return tests


def _chi_square(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Cramér's V and p of a 2 x k table; by permutation where expected counts are too small for the approximation."""
    from scipy.stats import chi2_contingency

    found = chi2_contingency(counts, correction=False)
    p = float(found.pvalue)
    if found.expected_freq.min() < _EXPECTED_COUNT:
        p = _permutation_p(counts, float(found.statistic), found.expected_freq)
    return float(np.sqrt(found.statistic / counts.sum())), p


def _permutation_p(counts: NDArray[np.int64], statistic: float, expected: Floats) -> float:
    """Share of random splits of the same sizes whose statistic is as large (the observed one counted in)."""
    drawn = np.random.default_rng(0).multivariate_hypergeometric(counts.sum(axis=0), int(counts[0].sum()), size=_RESAMPLES)
    other = counts.sum(axis=0) - drawn
    statistics = (np.square(drawn - expected[0]) / expected[0] + np.square(other - expected[1]) / expected[1]).sum(axis=1)
    return float((1 + (statistics >= statistic * (1 - 1e-9)).sum()) / (1 + _RESAMPLES))


def _most(counts: Counter[str]) -> str:
    value, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return f"{value} ({count / counts.total():.0%})"


def _table(rows: Sequence[Features]) -> Floats:
    """Numbers and one-hot categories [n, features]; values that only one image has are of no use to a classifier and are left out."""
    columns = [np.array([row.numbers[name] for row in rows]) for name in rows[0].numbers]
    for name in rows[0].categories:
        counts = Counter(row.categories[name] for row in rows)
        kept = sorted(value for value, count in counts.items() if 1 < count < len(rows))
        columns += [np.array([float(row.categories[name] == value) for row in rows]) for value in kept]
    return np.stack(columns, axis=1)
