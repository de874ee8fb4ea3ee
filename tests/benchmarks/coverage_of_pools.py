"""How often intervals of a mean change over domains hold the truth, on drawn sets: tables in Markdown.

    OMP_NUM_THREADS=1 python tests/benchmarks/coverage_of_pools.py --sets 1000 --replicates 400 -o pools.md

Each domain has 60 members and 60 non-members with normal scores of equal variance; members are shifted by 1.0 before, and after by 1.3 plus
what its domain and its seed add (normal, of the scatters given). Scores before and after are correlated by 0.8 over images, those of two
seeds of one domain by 0.82. Every true value is known in closed form.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
from scipy.stats import norm

from s2l_core.metrics.hierarchical import DomainChange, domain_change, hierarchical, these_domains
from s2l_core.metrics.intervals import percentiles, stream
from s2l_core.metrics.pooled import cluster_interval
from s2l_core.metrics.roc import Floats
from s2l_core.scores import Scores
from s2l_core.specs.metrics import MetricsSpec

IMAGES, FPRS = 60, (0.1, 0.01)
RHO, BEFORE, AFTER = 0.8, 1.0, 1.3
NAMES = ("AUC", *(f"TPR at FPR {fpr:g}" for fpr in FPRS))

Held = Iterator[tuple[tuple[str, str], bool]]


@dataclass(frozen=True)
class Setting:
    """How many domains and seeds, and how much each adds to the members' shift (standard deviations)."""

    domains: int
    seeds: int
    domain_scatter: float
    seed_scatter: float


def values(shift: Floats | float, scatter: float) -> Floats:
    """True AUC and TPRs where the members' shift is normal with that scatter: [3, ...]."""
    area = norm.cdf(np.asarray(shift) / sqrt(2 + scatter**2))
    rates = [norm.cdf((np.asarray(shift) - norm.isf(fpr)) / sqrt(1 + scatter**2)) for fpr in FPRS]
    return np.array([area, *rates])


def domain(random: np.random.Generator, name: str, shift: float, setting: Setting) -> list[tuple[Scores, Scores]]:
    member = np.arange(2 * IMAGES) < IMAGES
    before, common = random.normal(size=2 * IMAGES), random.normal(size=2 * IMAGES)

    def scores(values: Floats, by: float) -> Scores:
        return Scores({"kind": "drawn"}, name, tuple(map(str, range(2 * IMAGES))), member, values + by * member)

    pairs = []
    for _ in range(setting.seeds):
        noise = sqrt(0.5) * (common + random.normal(size=2 * IMAGES))
        shaken = RHO * before + sqrt(1 - RHO**2) * noise
        pairs.append((scores(before, BEFORE), scores(shaken, shift + setting.seed_scatter * random.normal())))
    return pairs


def one_set(setting: Setting, index: int, replicates: int) -> Held:
    random = stream(index, "pools", *map(str, (setting.domains, setting.seeds, setting.domain_scatter, setting.seed_scatter)))
    spec = MetricsSpec(fprs=FPRS, bootstrap=replicates, seed=index)
    shifts = AFTER + setting.domain_scatter * random.normal(size=setting.domains)
    found = [domain_change(domain(random, str(place), float(shift), setting), spec) for place, shift in enumerate(shifts)]
    everywhere = values(AFTER, sqrt(setting.domain_scatter**2 + setting.seed_scatter**2)) - values(BEFORE, 0.0)
    here = values(shifts, setting.seed_scatter).mean(axis=1) - values(BEFORE, 0.0)
    for name, truth, (low, high) in zip(NAMES, here, these_domains(found, spec), strict=True):
        yield (name, "these domains"), low <= truth <= high
    if setting.domains == 1:
        return
    for metric, (name, truth, (low, high)) in enumerate(zip(NAMES, everywhere, hierarchical(found, spec), strict=True)):
        yield (name, "domains, images and seeds"), low <= truth <= high
        _, low, high = cluster_interval(np.array([each.change[metric] for each in found]), spec)
        yield (name, "whole domains, t"), low <= truth <= high
        low, high = percentiles(counted_twice(found, metric, index), level=0.95)
        yield (name, "for contrast: all levels resampled, percentiles"), low <= truth <= high


def counted_twice(found: list[DomainChange], metric: int, index: int) -> Floats:
    """The mean change where domains are resampled and their images and seeds on top, as it is often done."""
    replicates = np.array([each.replicates[metric] for each in found])
    count, samples = replicates.shape
    random = stream(index, "counted twice")
    return np.asarray(replicates[random.integers(0, count, (samples, count)), random.integers(0, samples, (samples, count))].mean(axis=1))


def table(settings: list[Setting], sets: int, replicates: int) -> str:
    columns = []
    for setting in settings:
        found: dict[tuple[str, str], list[bool]] = defaultdict(list)
        for index in range(sets):
            for name, held in one_set(setting, index, replicates):
                found[name].append(held)
        columns.append({name: f"{np.mean(held):.3f}" for name, held in found.items()})
        print(setting, columns[-1], flush=True)
    rows = sorted({name for column in columns for name in column}, key=lambda row: (NAMES.index(row[0]), row[1].startswith("for"), row[1]))
    lines = [f"| domains | | {' | '.join(str(setting.domains) for setting in settings)} |", "|---" * (len(settings) + 2) + "|"]
    lines += [f"| {' | '.join(row)} | {' | '.join(column.get(row, '') for column in columns)} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--domains", type=int, nargs="+", default=[1, 2, 3, 6, 12, 40])
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    made = []
    for seeds, seed_scatter in ((1, 0.0), (3, 0.2)):
        for scatter in (0.0, 0.3):
            told = f"{seeds} seed{'s' if seeds > 1 else ''} a domain; scatter of the shift: domains {scatter:g}, seeds {seed_scatter:g}"
            settings = [Setting(count, seeds, scatter, seed_scatter) for count in asked.domains]
            made.append(f"{told}:\n\n{table(settings, asked.sets, asked.replicates)}")
            if asked.output:
                asked.output.write_text("\n".join(made))
    print("\n".join(made))
