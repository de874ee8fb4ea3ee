"""Where the values of an axis lie on a plot: numbers on a linear or logarithmic scale, zero and words beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeGuard

from dashboards.words import value_words

LOG_FROM = 10.0
"""A scale is logarithmic when its largest value is more than that many times its smallest, or when its values double at each step."""
LABEL_GAP = 0.075
"""Labels stand at least that part of the axis apart; those between are left out."""


@dataclass(frozen=True)
class Scale:
    """An axis from 0 to 1.

    Attributes:
        at: value -> position.
        log: whether the numbers are on a logarithmic scale.
        detached: values that are no point of the number scale (words; zero on a logarithmic scale): nothing is joined to them.
    """

    at: dict[Any, float] = field(default_factory=dict)
    log: bool = False
    detached: frozenset[Any] = frozenset()

    def ticks(self) -> list[tuple[float, str]]:
        """(position, label), as many as can be read; the first, the last and what is detached are always there."""
        ordered = sorted(self.at, key=lambda value: self.at[value])
        always = {ordered[0], ordered[-1], *self.detached}
        kept: list[Any] = []
        for value in ordered:
            crowded = any(abs(self.at[value] - self.at[other]) < LABEL_GAP for other in {*kept, *always} - {value})
            if value in always or not crowded:
                kept.append(value)
        return [(self.at[value], number_words(value)) for value in kept]


def is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number_words(value: Any) -> str:
    """`1e−6`, `0.001`, `2000`, `match`."""
    return value_words(value).replace("-", "−") if is_number(value) else value_words(value)


def scale_of(values: Sequence[Any]) -> Scale:
    """The scale of an axis.

    Args:
        values: in the grid's order, each once. A word that comes before all numbers stands left of them, others right.
    """
    numbers = sorted(value for value in values if is_number(value))
    positive = [number for number in numbers if number > 0]
    log = bool(positive) and numbers[0] >= 0 and (positive[-1] > LOG_FROM * positive[0] or _doubling(positive))
    scaled = positive if log else numbers
    inside = {number: math.log10(number) if log else float(number) for number in scaled}
    first_number = next((index for index, value in enumerate(values) if is_number(value)), len(values))
    left = list(values[:first_number]) + [number for number in numbers if number not in inside]
    right = [value for value in values[first_number:] if not is_number(value)]
    return _laid_out(inside, left, right, log)


def _doubling(numbers: Sequence[float]) -> bool:
    """True for 1, 2, 4, and for every other series of three or more whose steps are of one ratio, twice or more."""
    ratios = [second / first for first, second in pairwise(numbers)]
    return len(ratios) > 1 and ratios[0] >= 2 and all(math.isclose(ratio, ratios[0], rel_tol=0.01) for ratio in ratios)


def _laid_out(inside: dict[Any, float], left: Sequence[Any], right: Sequence[Any], log: bool) -> Scale:
    """Positions from 0 to 1, with a place of its own at an end for each detached value."""
    low, high = min(inside.values(), default=0.0), max(inside.values(), default=0.0)
    step = (high - low) / max(4, len(inside) - 1) or 1.0
    raw = dict(inside)
    raw |= {value: low - 1.4 * step * (len(left) - index) for index, value in enumerate(left)}
    raw |= {value: high + 1.4 * step * (index + 1) for index, value in enumerate(right)}
    start, length = min(raw.values()), max(raw.values()) - min(raw.values())
    at = {value: (position - start) / length if length else 0.5 for value, position in raw.items()}
    return Scale(at, log, frozenset([*left, *right]))
