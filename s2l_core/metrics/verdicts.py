"""What a difference means in one word, and what its reader must be warned of."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Literal

from s2l_core.scores import Scores

Verdict = Literal["amplified", "reduced", "none", "inverted"]

SMALL_CLASS = 50
"""Below that many images of a class, an AUC of 0.70 is known to no better than plus or minus 0.10."""


def verdict(delta: float, low: float, high: float, auc_before: float) -> Verdict:
    """The verdict on a difference after minus before.

    `none` when the interval holds 0; else `inverted` when the attack ranked members below non-members beforehand (AUC under 0.5: then a
    rise brings it nearer to chance, and neither word fits); else `amplified` or `reduced` by the sign. A TPR takes its orientation
    from the AUC of the same scores.
    """
    if low <= 0 <= high:
        return "none"
    if auc_before < 0.5:
        return "inverted"
    return "amplified" if delta > 0 else "reduced"


def warning(code: str, message: str) -> dict[str, str]:
    """A warning as it stands in metrics.json."""
    return {"code": code, "message": message}


def size_warnings(members: int, non_members: int, fprs: Iterable[float]) -> list[dict[str, str]]:
    """Too few images for an FPR (`few_non_members`, one for each) or for a useful interval (`small_sample`)."""
    warnings = [
        warning(
            "few_non_members",
            f"TPR at FPR {fpr:g} needs at least {_needed(fpr)} non-members and has {non_members}: the smallest FPR that can be told from "
            f"zero is {1 / non_members:.2g}, so read this TPR as one at no false positive at all",
        )
        for fpr in fprs
        if non_members < _needed(fpr)
    ]
    if min(members, non_members) < SMALL_CLASS:
        warnings.append(
            warning(
                "small_sample",
                f"{members} members and {non_members} non-members: with fewer than {SMALL_CLASS} of either, intervals are wide and only "
                "roughly right; small changes cannot be seen",
            )
        )
    return warnings


def _needed(fpr: float) -> int:
    return ceil(1 / fpr - 1e-9)


def score_warnings(when: str, scores: Scores, area: float) -> list[dict[str, str]]:
    """Scores that all are equal (`constant_scores`), or rank members below non-members (`inverted`)."""
    if (scores.score == scores.score[0]).all():
        return [warning("constant_scores", f"all scores {when} are equal: the attack sees no difference between any two images")]
    if area < 0.5:
        message = (
            f"the AUC {when} is {area:.3f}: the attack ranks members below non-members. It is reported as it is; "
            "turning the sign round after looking at the answer would find leakage in noise"
        )
        return [warning("inverted", message)]
    return []
