"""A plot of distinct images that candidates show against the number of candidates; the same values give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dashboards.plots import LINE_COLORS, RULE, STYLE
from s2l_core.metrics.distinct import Counted

MEMBERS, NON_MEMBERS = LINE_COLORS[1], LINE_COLORS[0]


@dataclass(frozen=True)
class Found:
    """One side's distinct images.

    Attributes:
        before, after: positions of the candidates that showed another image, in any order; several trials' together.
        level: the number after, at the end, with its interval.
    """

    before: Sequence[int]
    after: Sequence[int]
    level: Counted


def against_budget(members: Found, non_members: Found, *, budget: int) -> Figure:
    """Steps of the distinct images shown, before dashed and after solid, with the interval of the count after at the right end."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 2.6), layout="constrained")
        axes = figure.add_subplot()
        for place, (side, color) in enumerate(((non_members, NON_MEMBERS), (members, MEMBERS))):
            axes.plot(*_steps(side.before, budget), color=color, linewidth=1.2, alpha=0.8, linestyle=(0, (3, 2)), drawstyle="steps-post")
            axes.plot(*_steps(side.after, budget), color=color, linewidth=1.7, drawstyle="steps-post")
            at = budget * (1.02 + 0.025 * place)
            axes.plot([at, at], [side.level.low, side.level.high], color=color, linewidth=1.4, alpha=0.75, solid_capstyle="butt")
        axes.set_xlabel("candidates")
        axes.set_ylabel("distinct images shown")
        axes.set(xlim=(0, 1.06 * budget), ylim=(0, 1.05 * max(1.0, *(side.level.high for side in (members, non_members)))))
        _whole(axes, budget)
    return figure


def _steps(found_at: Sequence[int], budget: int) -> tuple[list[int], list[int]]:
    positions = sorted(found_at)
    return [0, *positions, budget], [0, *range(1, len(positions) + 1), len(positions)]


def _whole(axes: Any, budget: int) -> None:
    """Ticks at whole numbers; the last candidate is named."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ticks = [int(tick) for tick in MaxNLocator(nbins=4, integer=True).tick_values(0, budget) if 0 <= tick < 0.9 * budget]
    axes.set_xticks([*ticks, budget], [f"{tick:,}" for tick in (*ticks, budget)])
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
