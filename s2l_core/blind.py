"""A classifier that never sees the model: if it tells members from non-members, the split leaks and no attack's score means what it says.

It reads what has nothing to do with memorisation: colours, sharpness, compression, size and format of the files, captions.
Letters in shapes: n images, f features.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2l_core.images import ImageRecord, decode
from s2l_core.metrics.intervals import auc_interval, logistic, logit, stream
from s2l_core.metrics.roc import auc, rank_error

Floats = NDArray[np.float64]

GRID = 4
WORDS = 32
TOLD = 10
SAME_WITHIN = 8.0
"""Grey levels, of 255, by which no cell of an 8 x 8 thumbnail may differ for two images to count as one."""
PERMUTATIONS = 120
STRENGTH = 0.05
"""Inverse strength of the ridge penalty: weak enough to find one clear artefact, strong enough for 60 features of 100 images."""


def blind_baseline(records: Sequence[ImageRecord], *, folds: int = 5, seed: int = 0) -> dict[str, Any]:
    """How well members can be told from non-members without the model: what blind.json holds.

    Logistic regression on standardised features, scored out of fold; images that look the same stay in one fold. The AUC's interval is
    DeLong's at 95 %, widened as permuted labels say; p is the permutation's; `separates` says that the interval lies above 0.5.

    Args:
        records: members and non-members of one domain.
        folds: of the cross-validation; fewer where a class has fewer images.
        seed: shuffles the folds.

    Raises:
        ValueError: fewer than two members or two non-members, or an image cannot be decoded.
    """
    member = np.array([bool(record.member) for record in records])
    if min(member.sum(), (~member).sum()) < 2:
        raise ValueError(f"the blind baseline needs two members and two non-members; got {member.sum()} and {(~member).sum()}")
    names, values = features(records)
    found = separation(values, member, _groups(records), folds=folds, random=stream(seed, "blind"))
    return {
        "auc": found.auc,
        "auc_low": found.low,
        "auc_high": found.high,
        "p_value": found.p_value,
        "separates": found.low > 0.5,
        "features": _told(names, found.weights),
        "n_member": int(member.sum()),
        "n_non_member": int((~member).sum()),
    }


@dataclass(frozen=True, eq=False)
class Separation:
    """How well a classifier tells members from non-members.

    Attributes:
        auc, low, high: out of fold, with its interval at 95 %.
        p_value: the permutation's, for an AUC as far from 0.5; `p_above`: for one as large.
        weights: of the features [f], standardised, fitted on all images.
    """

    auc: float
    low: float
    high: float
    p_value: float
    p_above: float
    weights: Floats


def separation(
    values: Floats, member: NDArray[np.bool_], groups: NDArray[np.int64], *, folds: int, random: np.random.Generator
) -> Separation:
    """Cross-validated logistic regression on features [n, f], against permuted labels.

    Args:
        groups: [n], the same number for images that look the same; they stay in one fold, and in a permutation they have one label.
    """
    from threadpoolctl import threadpool_limits

    scaled = _standardised(values)
    folds = max(2, min(folds, int(member.sum()), int((~member).sum())))
    with threadpool_limits(1):  # sums in one order, whatever the machine
        found = _out_of_fold(scaled, member, groups, folds, random)
        permuted = _permuted(scaled, member, groups, folds, random)
        weights = _fit(scaled, member).coef_[0]
    area = auc(*found)
    low, high = _interval(found, permuted)
    two_sided, above = (
        float((1 + extreme.sum()) / (1 + PERMUTATIONS)) for extreme in (np.abs(permuted - 0.5) >= abs(area - 0.5), permuted >= area)
    )
    return Separation(area, low, high, two_sided, above, weights)


def features(records: Sequence[ImageRecord]) -> tuple[list[str], Floats]:
    """What the classifier reads: names, and values [n, f]. No label is looked at.

    Raises:
        ValueError: an image cannot be decoded; the text names it.
    """
    rows = [{**_file_features(record), **_pixel_features(record), **_caption_features(record)} for record in records]
    _add_common_shape(rows)
    _add_words(rows, [record.text for record in records])
    names = list(rows[0])
    return names, np.array([[row[name] for name in names] for row in rows], dtype=np.float64)


def _file_features(record: ImageRecord) -> dict[str, float]:
    with Image.open(io.BytesIO(record.image)) as opened:
        width, height = opened.size
        kind, colours, notes = opened.format, opened.mode, len(opened.info)
    return {
        "file bytes (log)": float(np.log(len(record.image))),
        "file bytes per pixel": len(record.image) / (width * height),
        "width (log)": float(np.log(width)),
        "height (log)": float(np.log(height)),
        "width / height (log)": float(np.log(width / height)),
        "is JPEG": float(kind == "JPEG"),
        "is PNG": float(kind == "PNG"),
        "is RGB": float(colours == "RGB"),
        "entries in the file's header": float(notes),
    }


def _pixel_features(record: ImageRecord) -> dict[str, float]:
    try:
        pixels = decode(record.image).astype(np.float64) / 255
    except ValueError as error:
        raise ValueError(f"image {record.image_id}: {error}") from error
    grey = pixels.mean(axis=2)
    across, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    colour = {
        f"{statistic} of {channel}": float(value)
        for index, channel in enumerate(("red", "green", "blue"))
        for statistic, value in (("mean", pixels[..., index].mean()), ("spread", pixels[..., index].std()))
    }
    thumbnail = {f"light at {row},{column}": value for (row, column), value in np.ndenumerate(_thumbnail(grey, GRID))}
    return {
        **colour,
        "change between neighbours, across": _mean(across),
        "change between neighbours, down": _mean(down),
        "edges of 8-pixel blocks": _mean(across[:, 7::8]) - _mean(across),
        "share of black": float((grey <= 1 / 255).mean()),
        "share of white": float((grey >= 254 / 255).mean()),
        "colourfulness": float((pixels.max(axis=2) - pixels.min(axis=2)).mean()),
        **thumbnail,
    }


def _caption_features(record: ImageRecord) -> dict[str, float]:
    words = record.text.split()
    return {"caption length": float(len(record.text)), "caption words": float(len(words)), "different words": float(len(set(words)))}


def _add_common_shape(rows: list[dict[str, float]]) -> None:
    """Whether an image has the most frequent size: sizes that all are equal on one side and scattered on the other have equal means."""
    shapes = [(row["width (log)"], row["height (log)"]) for row in rows]
    common = max(sorted(set(shapes)), key=shapes.count)
    for row, shape in zip(rows, shapes, strict=True):
        row["has the most frequent size"] = float(shape == common)


def _add_words(rows: list[dict[str, float]], captions: Sequence[str]) -> None:
    """The captions' most frequent words that are not in all of them."""
    found = [set(caption.lower().split()) for caption in captions]
    counts = Counter(word for words in found for word in words)
    frequent = sorted((word for word, count in counts.items() if 2 <= count < len(rows)), key=lambda word: (-counts[word], word))
    for row, words in zip(rows, found, strict=True):
        row.update({f"caption says {word!r}": float(word in words) for word in frequent[:WORDS]})


def _thumbnail(grey: Floats, side: int) -> Floats:
    """Means over a side x side grid of the picture; cells of pictures smaller than the grid repeat pixels."""
    height, width = grey.shape
    down, across = (np.linspace(0, size, side + 1).astype(int) for size in (height, width))
    rows = [(min(top, height - 1), max(bottom, top + 1)) for top, bottom in pairwise(down)]
    columns = [(min(left, width - 1), max(right, left + 1)) for left, right in pairwise(across)]
    cells = [[grey[top:bottom, left:right].mean() for left, right in columns] for top, bottom in rows]
    return np.array(cells)


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else 0.0


def _groups(records: Sequence[ImageRecord]) -> NDArray[np.int64]:
    """The same number for images that look the same, whatever their encoding, so that no image is scored by its own copy."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    thumbnails = np.array([_thumbnail(decode(record.image).mean(axis=2), 8).ravel() for record in records])
    pairs = cKDTree(thumbnails).query_pairs(SAME_WITHIN, p=np.inf, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(records), len(records)))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def _standardised(values: Floats) -> Floats:
    spread = values.std(axis=0)
    scaled: Floats = (values - values.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    return scaled


def _fit(values: Floats, member: NDArray[np.bool_]) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=STRENGTH, class_weight="balanced", solver="newton-cholesky").fit(values, member)


def _out_of_fold(
    values: Floats, member: NDArray[np.bool_], groups: NDArray[np.int64], folds: int, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Log-odds of members and of non-members, each image's by a classifier that was fitted on the other folds."""
    fold = _deal(member, groups, folds, random)
    scores = np.zeros(len(values))
    for number in range(folds):
        held_out = fold == number
        if held_out.any() and len(set(member[~held_out])) == 2:
            scores[held_out] = _fit(values[~held_out], member[~held_out]).decision_function(values[held_out])
    return scores[member], scores[~member]


def _deal(member: NDArray[np.bool_], groups: NDArray[np.int64], folds: int, random: np.random.Generator) -> NDArray[np.int64]:
    """A fold for every image: whole groups, shuffled, dealt out like cards, those with a member first."""
    inside = set(groups[member].tolist())
    shuffled = random.permutation(np.unique(groups)).tolist()
    order = sorted(shuffled, key=lambda group: group not in inside)
    fold_of = {group: position % folds for position, group in enumerate(order)}
    return np.array([fold_of[group] for group in groups.tolist()])


def _permuted(values: Floats, member: NDArray[np.bool_], groups: NDArray[np.int64], folds: int, random: np.random.Generator) -> Floats:
    """AUCs of the same procedure when the labels mean nothing."""
    return np.array([auc(*_out_of_fold(values, _relabelled(member, groups, random), groups, folds, random)) for _ in range(PERMUTATIONS)])


def _relabelled(member: NDArray[np.bool_], groups: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.bool_]:
    """As many members, drawn at random in whole groups (but for the last): copies of one image are no more evidence than the image."""
    names, group = np.unique(groups, return_inverse=True)
    if len(names) == len(member):
        return random.permutation(member)
    order = np.argsort(random.permutation(len(names))[group], kind="stable")
    drawn = np.zeros(len(member), dtype=np.bool_)
    drawn[order[: member.sum()]] = True
    return drawn


def _interval(found: tuple[Floats, Floats], permuted: Floats) -> tuple[float, float]:
    """DeLong's interval, widened on the logit scale by how much more the permuted AUCs scatter than ranks of independent scores would.

    Out-of-fold scores are not independent (each image helps to train what scores the others): without this, one matched split in
    sixteen would be said to leak, instead of one in forty.
    """
    middle = auc(*found)
    low, high = auc_interval(*found)
    wider = max(1.0, float(permuted.std()) / rank_error(*found))
    if not 0 < middle < 1:
        return low, high
    centre = logit(middle)
    return logistic(centre + (logit(low) - centre) * wider), logistic(centre + (logit(high) - centre) * wider)


def _told(names: Sequence[str], weights: Floats) -> list[dict[str, Any]]:
    """The features with the largest weights per standard deviation; positive ones speak for a member."""
    order = sorted(range(len(names)), key=lambda index: (-abs(round(float(weights[index]), 6)), names[index]))
    return [{"name": names[index], "weight": round(float(weights[index]), 6)} for index in order[:TOLD]]
