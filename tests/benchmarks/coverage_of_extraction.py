"""How often the intervals of extraction counts hold the truth, on drawn candidates: a table in Markdown.

    OMP_NUM_THREADS=1 python tests/benchmarks/coverage_of_extraction.py --sets 1000

Each candidate shows one image or none, by chances that are the same for all candidates: of one of seven profiles, scaled so that the
expected number of distinct images is the one in the table. The standard error of a share of 95 % over 1,000 sets is 0.7 points.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from s2l_core.metrics.distinct import Counted, change_interval, images_interval, sign_test, summed_interval
from s2l_core.metrics.intervals import stream

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

SIZES, BUDGETS = (16, 64, 500), (64, 512, 5000)
EXPECTED = (0.0, 0.3, 1.0, 3.0, 8.0, 20.0, 40.0, 60.0, 64.0)
CHANGES = ((0.3, 0.3), (0.3, 3.0), (1.0, 1.0), (1.0, 8.0), (3.0, 3.0), (3.0, 20.0), (8.0, 8.0), (20.0, 20.0), (20.0, 40.0), (40.0, 60.0))
DOMAINS = 6

PROFILES: dict[str, Callable[[int], Floats]] = {
    "all alike": lambda s: np.ones(s),
    "1 / rank": lambda s: 1 / np.arange(1, s + 1),
    "1 / rank^2": lambda s: 1 / np.arange(1, s + 1) ** 2.0,
    "log-normal": lambda s: np.exp(2 * stream(0, "log-normal", s).normal(size=s)),
    "an eighth alike, the rest never": lambda s: np.where(np.arange(s) < s // 8, 1.0, 0.0),
    "three a hundred times as often": lambda s: np.where(np.arange(s) < 3, 100.0, 1.0),
    "half ten times as often": lambda s: np.where(np.arange(s) < s // 2, 10.0, 1.0),
}


@dataclass(frozen=True)
class Setting:
    """Candidates of one model: the chances that one shows each image, and how many distinct ones are expected."""

    profile: str
    budget: int
    chances: Floats
    expected: float

    def drawn(self, sets: int, random: np.random.Generator) -> Counts:
        """How often each image is shown, [sets, s]."""
        nothing = max(0.0, 1.0 - float(self.chances.sum()))
        return random.multinomial(self.budget, [*self.chances, nothing], size=sets)[:, :-1]


@cache
def setting(profile: str, size: int, budget: int, expected: float) -> Setting | None:
    """None where no chances of that profile make so many distinct images be expected."""
    weights = PROFILES[profile](size)

    def distinct(scale: float) -> float:
        return float((1 - (1 - scale * weights) ** budget).sum())

    low, high = 1e-15, 0.999 / float(weights.sum())
    if expected > distinct(high) or expected >= size:
        return None
    while high / low > 1 + 1e-12:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if distinct(middle) < expected else (low, middle)
    return Setting(profile, budget, low * weights if expected else 0 * weights, distinct(low) if expected else 0.0)


def all_shown(size: int, budget: int) -> Setting | None:
    """Each image eight times on average: nearly always all of them, each several times."""
    chances = np.full(size, 8 / budget)
    return Setting("all alike", budget, chances, float((1 - (1 - chances) ** budget).sum())) if chances.sum() < 1 else None


def intervals(times: Counts) -> list[Counted]:
    return [_interval(int((one > 0).sum()), int((one == 1).sum()), int((one == 2).sum()), len(one)) for one in times]


@cache
def _interval(images: int, once: int, twice: int, out_of: int) -> Counted:
    return images_interval(images, once, twice, out_of=out_of)


@cache
def rarefied(images: int, once: int, twice: int) -> Counted:
    """For contrast: the unconditional variance of rarefaction at the size of the sample (Colwell et al., J. Plant Ecology 5, 2012)."""
    unseen = once**2 / (2 * twice) if twice else once * (once - 1) / 2
    half = 1.96 * (images * (1 - images / (images + unseen))) ** 0.5 if images else 0.0
    return Counted(images, images - half, images + half)


def contrast(times: Counts) -> list[Counted]:
    return [rarefied(int((one > 0).sum()), int((one == 1).sum()), int((one == 2).sum())) for one in times]


def holds(found: list[Counted], truth: float) -> float:
    return float(np.mean([one.low - 1e-9 <= truth <= one.high + 1e-9 for one in found]))


# --- one count ---


def counts(sets: int) -> Iterator[str]:
    budgets = " | ".join(f"{budget:,} candidates" for budget in BUDGETS)
    yield f"| expected images | {budgets} | width | outside of .93 to .98 | for contrast: Colwell et al. |"
    yield "|---" * (len(BUDGETS) + 4) + "|"
    for expected in EXPECTED:
        columns, widths, outside, others = [], [], [], []
        for budget in BUDGETS:
            found = []
            for profile in PROFILES:
                for size in SIZES:
                    one = setting(profile, size, budget, expected) if expected < 64 else all_shown(size, budget)
                    if one is None or (expected in (0.0, 64.0) and profile != "all alike"):
                        continue
                    times = one.drawn(sets, stream(0, "counts", profile, size, budget, str(expected)))
                    held = intervals(times)
                    found.append(holds(held, one.expected))
                    others.append(holds(contrast(times), one.expected))
                    widths.append(float(np.mean([each.high - each.low for each in held])))
            columns.append(_range(found))
            outside += found
        said = "all there are, each 8 times" if expected == 64 else f"{expected:g}"
        below, above = sum(one < 0.93 for one in outside), sum(one > 0.98 for one in outside)
        told = f"{below} below, {above} above, of {len(outside)}"
        yield f"| {said} | {' | '.join(columns)} | {np.median(widths):.1f} | {told} | {_range(others)} |"


def _range(found: list[float]) -> str:
    return f"{min(found):.3f} to {max(found):.3f}, median {np.median(found):.3f}" if found else "cannot be"


# --- changes and sums ---


def pairs(before: Setting, after: Setting, sets: int, random: np.random.Generator, *, together: float) -> tuple[Counts, Counts]:
    """Two sets of candidates, of which a share `together` shows the same in both as far as their chances allow."""
    if not together:
        return before.drawn(sets, random), after.drawn(sets, random)
    shared = Setting("", round(together * before.budget), np.minimum(before.chances, after.chances), 0.0)
    both = shared.drawn(sets, random)
    rest = [Setting("", one.budget - shared.budget, one.chances, 0.0).drawn(sets, random) for one in (before, after)]
    more = [Setting("", shared.budget, one.chances - shared.chances, 0.0).drawn(sets, random) for one in (before, after)]
    return both + rest[0] + more[0], both + rest[1] + more[1]


def changes(sets: int) -> Iterator[str]:
    yield "| expected before and after | drawn apart | half together | zero left out (apart / together) | sign test p < .05 | beyond |"
    yield "|---|---|---|---|---|---|"
    for old, new in CHANGES:
        cells: list[list[list[float]]] = [[[], [], []] for _ in range(2)]
        beyond = []
        for profile in PROFILES:
            for budget in BUDGETS:
                before, after = (setting(profile, 64, budget, each) for each in (old, new))
                if before is None or after is None:
                    continue
                for place, together in enumerate((0.0, 0.5)):
                    random = stream(0, "changes", profile, budget, str(old), str(new), place)
                    drawn = pairs(before, after, sets, random, together=together)
                    found = [change_interval(a, b) for a, b in zip(*map(intervals, drawn), strict=True)]
                    cells[place][0].append(holds(found, after.expected - before.expected))
                    cells[place][1].append(1 - holds(found, 0.0))
                    cells[place][2].append(_rejected(*drawn))
                control = map(intervals, pairs(before, before, sets, random, together=0.0))
                still = [change_interval(a, b) for a, b in zip(*control, strict=True)]
                differences = [change_interval(a, b) for a, b in zip(still, found, strict=True)]
                beyond.append(holds(differences, after.expected - before.expected))
        called = [" / ".join(f"{np.mean(cell[which]):.3f}" for cell in cells) for which in (1, 2)]
        if old == new:
            called = [f"{said}, at most {max(cells[0][which] + cells[1][which]):.3f}" for which, said in zip((1, 2), called, strict=True)]
        yield f"| {old:g} and {new:g} | {_range(cells[0][0])} | {_range(cells[1][0])} | {called[0]} | {called[1]} | {_range(beyond)} |"


def _rejected(before: Counts, after: Counts) -> float:
    new, lost = ((after > 0) & (before == 0)).sum(1), ((before > 0) & (after == 0)).sum(1)
    return float(np.mean([sign_test(int(a), int(b)) < 0.05 for a, b in zip(new, lost, strict=True)]))


def sums(sets: int) -> Iterator[str]:
    yield f"| expected before and after, in each of {DOMAINS} domains | one seed | two seeds beside one before, half drawn together |"
    yield "|---|---|---|"
    for old, new in CHANGES:
        single, double = [], []
        for profile in PROFILES:
            before, after = (setting(profile, 64, 512, each) for each in (old, new))
            if before is None or after is None:
                continue
            random = stream(0, "sums", profile, str(old), str(new))
            one: list[dict[str, list[Counted]]] = [{} for _ in range(sets)]
            two: list[dict[str, list[Counted]]] = [{} for _ in range(sets)]
            for domain in range(DOMAINS):
                olds, first = map(intervals, pairs(before, after, sets, random, together=0.0))
                again = intervals(pairs(after, after, sets, random, together=0.5)[1])
                for index, (a, b, c) in enumerate(zip(olds, first, again, strict=True)):
                    one[index][f"{domain}"] = [change_interval(a, b)]
                    two[index][f"{domain}"] = [change_interval(a, b), change_interval(a, c)]
            truth = DOMAINS * (after.expected - before.expected)
            single.append(holds([summed_interval(each) for each in one], truth))
            double.append(holds([summed_interval(each) for each in two], 2 * truth))
        yield f"| {old:g} and {new:g} | {_range(single)} | {_range(double)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000)
    sets = parser.parse_args().sets
    for part in (counts, changes, sums):
        print("\n".join(part(sets)), end="\n\n", flush=True)
