"""The leakage of one model before and after, under one attack, on the same images: what metrics.json holds."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from s2l_core.metrics.calibrated import accuracy_change, accuracy_interval, false_positives, halves, judged
from s2l_core.metrics.chance import against_chance
from s2l_core.metrics.identity import images_needed, recognised, set_test
from s2l_core.metrics.intervals import auc_interval
from s2l_core.metrics.rate_change import tpr_changes, tpr_intervals
from s2l_core.metrics.roc import auc, delong, roc_curve, tpr_at_fpr
from s2l_core.metrics.verdicts import score_warnings, size_warnings, verdict
from s2l_core.scores import Scores
from s2l_core.specs.metrics import MetricsSpec


def compare(before: Scores, after: Scores, spec: MetricsSpec) -> dict[str, Any]:
    """AUC, TPRs and ASR before, after and their paired difference, each with its interval; ROC curves; controls; warnings.

    ASR is the balanced accuracy of an attacker whose threshold was set on other images (`s2l_core.metrics.calibrated`); `thresholds` holds
    what FPR a threshold has on images that it was not set on, `chance` what AUCs are when labels are shuffled, `identity` whether a set of
    the members tells that this person was trained on.

    Intervals: for one AUC DeLong's on the logit scale; for the AUC's difference DeLong's paired one; for TPRs and their differences
    percentiles of a smoothed Bayesian bootstrap over both classes, the same weights of images before and after
    (`s2l_core.metrics.rate_change`).

    Raises:
        ValueError: the scores are not of the same images in the same order, a class is empty, or a score is not finite.
    """
    check_same_images(before, after)
    areas = auc(before.members, before.non_members), auc(after.members, after.non_members)
    members, non_members = len(before.members), len(before.non_members)
    sides = [("before", before, areas[0]), *([("after", after, areas[1])] if not np.array_equal(before.score, after.score) else [])]
    return {
        "attack": after.attack.get("kind"),
        "n_member": members,
        "n_non_member": non_members,
        "metrics": {"auc": _auc(before, after, spec), **_tprs(before, after, spec, areas[0]), **_asr(before, after, spec, areas[0])},
        "thresholds": _thresholds(before, after, spec),
        "chance": {when: _chance(scores, spec) for when, scores in (("before", before), ("after", after))},
        "identity": {when: _identity(scores, spec) for when, scores in (("before", before), ("after", after))},
        "roc": {"before": _curve(before), "after": _curve(after)},
        "warnings": [
            *size_warnings(members, non_members, spec.fprs),
            *(warning for when, scores, area in sides for warning in score_warnings(when, scores, area)),
        ],
    }


def metric_name(fpr: float) -> str:
    """The name of the TPR at that FPR: `tpr_at_fpr_0.01`."""
    return f"tpr_at_fpr_{fpr:g}"


def check_same_images(before: Scores, after: Scores) -> None:
    """Refuses pairs that are not pairs.

    Raises:
        ValueError: the two hold different images, or the same in another order.
    """
    if before.image_ids != after.image_ids or not np.array_equal(before.member, after.member):
        raise ValueError(
            f"before and after must score the same images in the same order; got {len(before.image_ids)} images of {before.domain!r} and "
            f"{len(after.image_ids)} of {after.domain!r}"
        )


def _auc(before: Scores, after: Scores, spec: MetricsSpec) -> dict[str, Any]:
    level = spec.level
    areas = auc(before.members, before.non_members), auc(after.members, after.non_members)
    delta, low, high, p = delong(before.members, before.non_members, after.members, after.non_members, level=level)
    return _entry(
        areas,
        auc_interval(before.members, before.non_members, level=level),
        auc_interval(after.members, after.non_members, level=level),
        (delta, low, high),
        p_value=p,
        auc_before=areas[0],
    )


def _tprs(before: Scores, after: Scores, spec: MetricsSpec, auc_before: float) -> dict[str, Any]:
    sides = (before.members, before.non_members), (after.members, after.non_members)
    changes = tpr_changes(*sides, spec.fprs, seed=spec.seed, replicates=spec.bootstrap, level=spec.level)
    entries = {}
    levels = [tpr_intervals(side, spec.fprs, seed=spec.seed, replicates=spec.bootstrap, level=spec.level) for side in sides]
    for fpr, change, interval_before, interval_after in zip(spec.fprs, changes, *levels, strict=True):
        (tpr_before, achieved_before), (tpr_after, achieved_after) = (tpr_at_fpr(*side, fpr) for side in sides)
        entry = _entry((tpr_before, tpr_after), interval_before, interval_after, change, p_value=None, auc_before=auc_before)
        entries[metric_name(fpr)] = entry | {"achieved_fpr_before": achieved_before, "achieved_fpr_after": achieved_after}
    return entries


def _asr(before: Scores, after: Scores, spec: MetricsSpec, auc_before: float) -> dict[str, Any]:
    """Nothing where a class is too small to be cut in halves."""
    if min(len(before.members), len(before.non_members)) < 2:
        return {}
    split = halves(len(before.members), len(before.non_members), spec.seed)
    old, new = (judged(each.members, each.non_members, split) for each in (before, after))
    intervals = accuracy_interval(old, level=spec.level), accuracy_interval(new, level=spec.level)
    sides = (before.members, before.non_members), (after.members, after.non_members)
    change = accuracy_change(*sides, split, seed=spec.seed, level=spec.level)
    return {"asr": _entry((old.accuracy, new.accuracy), intervals[0], intervals[1], change, p_value=None, auc_before=auc_before)}


def _thresholds(before: Scores, after: Scores, spec: MetricsSpec) -> dict[str, Any]:
    """What became of each FPR on images that the threshold was not set on, and the TPR there."""
    if min(len(before.members), len(before.non_members)) < 2:
        return {}
    split = halves(len(before.members), len(before.non_members), spec.seed)
    found: dict[str, Any] = {}
    for fpr in spec.fprs:
        for when, scores in (("before", before), ("after", after)):
            called = judged(scores.members, scores.non_members, split, fpr)
            rate, low, high = false_positives(called, level=spec.level)
            entry = {"fpr": rate, "fpr_low": low, "fpr_high": high, "tpr": float(called.member.mean())}
            found.setdefault(metric_name(fpr), {})[when] = entry
    return found


def _chance(scores: Scores, spec: MetricsSpec) -> dict[str, float]:
    purpose = _purpose(scores)
    return vars(against_chance(scores.members, scores.non_members, seed=spec.seed, purpose=purpose, level=spec.level))


def _purpose(scores: Scores) -> tuple[str, ...]:
    """Names draws: those of other domains or attacks are independent."""
    return scores.domain, json.dumps(scores.attack, sort_keys=True)


def _identity(scores: Scores, spec: MetricsSpec) -> dict[str, Any]:
    purpose = _purpose(scores)
    found = recognised(scores.members, scores.non_members, seed=spec.seed, purpose=purpose)
    test = set_test(scores.members, scores.non_members, seed=spec.seed, purpose=purpose)
    shares = {str(size): share for size, share in found.items()}
    return {**vars(test), "recognised": shares, "images_needed": images_needed(found)}


def _entry(
    values: tuple[float, float],
    before: tuple[float, float],
    after: tuple[float, float],
    delta: tuple[float, float, float],
    *,
    p_value: float | None,
    auc_before: float,
) -> dict[str, Any]:
    return {
        "before": values[0],
        "before_low": before[0],
        "before_high": before[1],
        "after": values[1],
        "after_low": after[0],
        "after_high": after[1],
        "delta": delta[0],
        "delta_low": delta[1],
        "delta_high": delta[2],
        "p_value": p_value,
        "verdict": verdict(*delta, auc_before),
    }


def _curve(scores: Scores) -> dict[str, list[float]]:
    fpr, tpr = roc_curve(scores.members, scores.non_members)
    return {"fpr": fpr.tolist(), "tpr": tpr.tolist()}
