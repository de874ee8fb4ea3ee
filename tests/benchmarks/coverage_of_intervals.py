"""How often the intervals hold the truth, and how often tests reject when nothing changed, on drawn sets: a table in Markdown.

    OMP_NUM_THREADS=1 python tests/benchmarks/coverage_of_intervals.py --sets 1000 -o docs/results/coverage.md

Scores are normal with equal variances, members shifted by 1.0 before and 1.3 after, correlated over images, so that every true value is
known in closed form. The standard error of a share of 95 % over 1,000 sets is 0.7 points.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from math import sqrt
from pathlib import Path

import numpy as np
from scipy.stats import norm

from s2l_core.metrics.calibrated import accuracy_change, accuracy_interval, balanced_threshold, false_positives, halves, judged
from s2l_core.metrics.chance import against_chance
from s2l_core.metrics.intervals import auc_interval, clopper_pearson, percentiles, stream, tpr_interval, tpr_replicates
from s2l_core.metrics.rate_change import tpr_changes, tpr_intervals
from s2l_core.metrics.roc import Floats, delong, strict_threshold, tpr_at_fpr

SIZES = ((60, 60), (128, 128), (64, 128), (500, 500))
FPRS = (0.1, 0.01)
RHO, BEFORE, AFTER = 0.8, 1.0, 1.3

Held = Iterator[tuple[str, bool]]


def scores(random: np.random.Generator, m: int, n: int, after: float = AFTER) -> tuple[Floats, Floats, Floats, Floats]:
    member, non_member = random.normal(size=m), random.normal(size=n)
    mixed = (RHO * one + sqrt(1 - RHO**2) * random.normal(size=len(one)) for one in (member, non_member))
    shaken, other = mixed
    return member + BEFORE, non_member, shaken + after, other


def area(shift: float) -> float:
    return float(norm.cdf(shift / sqrt(2)))


def tpr(shift: float, fpr: float) -> float:
    return float(norm.sf(norm.isf(fpr) - shift))


def one_set(m: int, n: int, index: int, replicates: int) -> Held:
    drawn = scores(stream(index, "coverage", m, n), m, n)
    low, high = auc_interval(drawn[0], drawn[1])
    yield "AUC (DeLong, logit)", low <= area(BEFORE) <= high
    _, low, high, _ = delong(*drawn)
    yield "change of AUC (paired DeLong)", low <= area(AFTER) - area(BEFORE) <= high
    values = tpr_replicates((drawn[0], drawn[2]), (drawn[1], drawn[3]), FPRS, replicates, stream(index, "bootstrap"))
    changes = tpr_changes(drawn[:2], drawn[2:], FPRS, seed=index, replicates=replicates)
    levels = tpr_intervals(drawn[:2], FPRS, seed=index, replicates=replicates)
    for column, fpr in enumerate(FPRS):
        low, high = levels[column]
        yield f"TPR at FPR {fpr:g} (smoothed Bayesian bootstrap)", low <= tpr(BEFORE, fpr) <= high
        _, low, high = changes[column]
        yield f"change of TPR at FPR {fpr:g} (smoothed Bayesian bootstrap)", low <= tpr(AFTER, fpr) - tpr(BEFORE, fpr) <= high
        low, high = percentiles(values[1, column] - values[0, column], level=0.95)
        yield (
            f"for contrast: change of TPR at FPR {fpr:g} (paired bootstrap, percentiles)",
            low <= tpr(AFTER, fpr) - tpr(BEFORE, fpr) <= high,
        )
        low, high = tpr_interval(drawn[0], drawn[1], fpr)
        yield f"for contrast: TPR at FPR {fpr:g} (order statistics and Wilson)", low <= tpr(BEFORE, fpr) <= high
        low, high = percentiles(values[0, column], level=0.95)
        yield f"for contrast: TPR at FPR {fpr:g} (bootstrap of both classes)", low <= tpr(BEFORE, fpr) <= high
        low, high = clopper_pearson(round(tpr_at_fpr(drawn[0], drawn[1], fpr)[0] * m), m)
        yield f"for contrast: TPR at FPR {fpr:g} (Clopper-Pearson, wrong here)", low <= tpr(BEFORE, fpr) <= high
    yield from _calibrated(drawn, index)
    still = scores(stream(index, "null", m, n), m, n, after=BEFORE)
    yield "size of the paired test of an AUC's change at 5 % (nothing changed)", delong(*still)[3] < 0.05
    _, low, high = accuracy_change((still[0], still[1]), (still[2], still[3]), halves(m, n, index), seed=index)
    yield "share of changes of ASR called a change (nothing changed)", not low <= 0 <= high
    nothing = stream(index, "nothing", m, n)
    test = against_chance(nothing.normal(size=m), nothing.normal(size=n), seed=index, shuffles=replicates)
    yield "size of the permutation test of an AUC at 5 % (scores say nothing)", test.p_value <= 0.05


def _calibrated(drawn: tuple[Floats, Floats, Floats, Floats], index: int) -> Held:
    """What holds of thresholds that were set on the other half, the truth being that of these very thresholds."""
    split = halves(len(drawn[0]), len(drawn[1]), index)
    member, other = drawn[:2]
    truth = float(np.mean([_accuracy(member[split.member != first], other[split.non_member != first], BEFORE) for first in (True, False)]))
    low, high = accuracy_interval(judged(member, other, split))
    yield "ASR (threshold of the other half)", low <= truth <= high
    for fpr in FPRS:
        _, low, high = false_positives(judged(drawn[0], drawn[1], split, fpr))
        rates = [norm.sf(strict_threshold(drawn[1][split.non_member != first], fpr)) for first in (True, False)]
        yield f"FPR of a threshold set to {fpr:g} elsewhere (Clopper-Pearson)", low <= float(np.mean(rates)) <= high


def _accuracy(member: Floats, other: Floats, shift: float) -> float:
    """The true balanced accuracy of the threshold that is set on these scores."""
    threshold = balanced_threshold(member, other)
    return float(norm.sf(threshold - shift) + norm.cdf(threshold)) / 2


def shares(rows: Iterator[Held]) -> dict[str, float]:
    found: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        for name, held in row:
            found[name].append(held)
    return {name: float(np.mean(values)) for name, values in found.items()}


def table(sets: int, replicates: int) -> str:
    columns = {f"{m} and {n}": shares(one_set(m, n, index, replicates) for index in range(sets)) for m, n in SIZES}
    names = next(iter(columns.values()))
    lines = [f"| members and non-members | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{column[name]:.3f}' for column in columns.values())} |" for name in names]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--replicates", type=int, default=1000, help="of the bootstrap, as in a grid")
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    made = table(asked.sets, asked.replicates)
    print(made)
    if asked.output:
        asked.output.write_text(made)
