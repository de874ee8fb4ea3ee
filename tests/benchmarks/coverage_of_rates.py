"""How often the interval of a change of TPR holds the truth, over many settings: a table in Markdown.

    OMP_NUM_THREADS=1 python tests/benchmarks/coverage_of_rates.py --sets 1000 --replicates 400 -o rates.md

Scores have equal variances (normal, or skewed or heavy-tailed where it says so), members are shifted so that the AUCs are those given, and
scores before and after are correlated over images. The percentiles of a plain bootstrap of both classes, which were used before, stand
beside it, on fewer sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np
from scipy.stats import gamma, norm, t

from s2l_core.metrics.intervals import percentiles, stream, tpr_replicates
from s2l_core.metrics.rate_change import tpr_changes
from s2l_core.metrics.roc import Floats

SIZES, FPRS = (60, 128, 500), (0.1, 0.01, 0.001)
AREAS = ((0.5, 0.5), (0.5, 0.6), (0.7, 0.7), (0.76, 0.82), (0.9, 0.9), (0.8, 0.95))
CORRELATIONS = (0.0, 0.8, 0.98)
LAWS = {"normal": norm, "t(3)": t(3), "gamma(2)": gamma(2)}

Sides = tuple[tuple[Floats, Floats], tuple[Floats, Floats]]


def drawn(random: np.random.Generator, n: int, shifts: tuple[float, float], correlation: float, law: str) -> Sides:
    """Scores before and after of n members and n non-members; marginals of the law, correlated through a normal copula."""
    old = random.normal(size=(2, n))
    new = correlation * old + sqrt(1 - correlation**2) * random.normal(size=(2, n))
    before, after = (LAWS[law].ppf(norm.cdf(each)) if law != "normal" else each for each in (old, new))
    return (before[0] + shifts[0], before[1]), (after[0] + shifts[1], after[1])


def truths(shifts: tuple[float, float], law: str) -> list[float]:
    at = [LAWS[law].isf(fpr) for fpr in FPRS]
    return [float(LAWS[law].sf(threshold - shifts[1]) - LAWS[law].sf(threshold - shifts[0])) for threshold in at]


def held(n: int, areas: tuple[float, float], correlation: float, law: str, sets: int, old_sets: int, replicates: int) -> Floats:
    """How often the new and the old interval hold the truth: [2, FPRs]."""
    shifts = tuple(sqrt(2) * norm.ppf(area) * LAWS[law].std() for area in areas)
    truth, found = truths((shifts[0], shifts[1]), law), np.zeros((2, len(FPRS)))
    for index in range(sets):
        sides = drawn(stream(index, "rates", n, *map(str, (*areas, correlation, law))), n, (shifts[0], shifts[1]), correlation, law)
        changes = tpr_changes(*sides, FPRS, seed=index, replicates=replicates)
        found[0] += [low - 1e-12 <= true <= high + 1e-12 for (_, low, high), true in zip(changes, truth, strict=True)]
        if index < old_sets:
            members, others = zip(*sides, strict=True)
            values = tpr_replicates(members, others, FPRS, replicates, stream(index, "old"))
            ends = [percentiles(column, level=0.95) for column in values[1] - values[0]]
            found[1] += [low - 1e-12 <= true <= high + 1e-12 for (low, high), true in zip(ends, truth, strict=True)]
    return found / np.array([[sets], [max(1, old_sets)]])


def told(shares: Floats) -> str:
    inside = int(((shares >= 0.93) & (shares <= 0.98)).sum())
    return f"{shares.min():.3f} to {shares.max():.3f} | {shares.mean():.3f} | {inside} | {int((shares < 0.93).sum())}"


def table(cells: dict[tuple[int, str], list[Floats]]) -> str:
    head = "from .. to | mean | in .93 to .98 | under .93"
    lines = [f"| images of a class | scores | FPR | settings | {head} | before: {head} |", "|---" * 12 + "|"]
    for (n, law), shares in cells.items():
        for column, fpr in enumerate(FPRS):
            both = [told(np.array([each[which, column] for each in shares])) for which in (0, 1)]
            lines.append(f"| {n} | {law} | {fpr:g} | {len(shares)} | {' | '.join(both)} |")
    return "\n".join(lines) + "\n"


def main(sets: int, old_sets: int, replicates: int, sizes: list[int], show: Callable[[str], None]) -> None:
    cells: dict[tuple[int, str], list[Floats]] = {}
    for n in sizes:
        settings = [("normal", *each) for each in product(AREAS, CORRELATIONS)]
        settings += [(law, areas, 0.8) for law in ("t(3)", "gamma(2)") for areas in AREAS]
        for law, areas, correlation in settings:
            share = held(n, areas, correlation, law, sets, old_sets, replicates)
            cells.setdefault((n, law), []).append(share)
            print(n, law, areas, correlation, *(f"{new:.3f} (before {old:.3f})" for new, old in share.T), flush=True)
        show(table(cells))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--old-sets", type=int, default=300)
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()

    def show(made: str) -> None:
        print(made, flush=True)
        if asked.output:
            asked.output.write_text(made)

    main(asked.sets, asked.old_sets, asked.replicates, asked.sizes, show)
