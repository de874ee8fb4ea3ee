"""A plot of how a change depends on an axis: one line for each way, with intervals; the same values give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dashboards.plots import INK, LINE_COLORS, MUTED, RULE, STYLE
from dashboards.scale import Scale

SHAPES = ("o", "s", "^", "D", "v", "P")
MARKS = ("●", "■", "▲", "◆", "▼", "✚")
"""The shapes as characters, for a legend in text."""
DODGE = 0.012
"""Lines stand that far beside each other, so that their intervals do not hide each other."""
REACH = 3.0
"""Intervals that reach further than so many times the largest change run out of the plot."""
CONTROL_ROOM = 2.0
"""Controls may widen the plot to so many times what the rest needs; one that lies further away would press the rest flat."""
LABEL_HEIGHT = 0.055


@dataclass(frozen=True)
class Point:
    """A change at a value of the axis; without an interval where trials are only averaged."""

    value: Any
    delta: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SweepLine:
    """One way to change the model along the axis.

    Attributes:
        thin: single domains (or trials), behind the line of their mean.
        control: drawn dashed.
    """

    points: Sequence[Point]
    thin: Sequence[Sequence[Point]] = ()
    control: bool = False


def sweep(lines: Sequence[SweepLine], scale: Scale, *, axis: str, labels: Sequence[str] = (), words: str = "change of AUC") -> Figure:
    """The change against the axis. Lines have the colours and shapes of their places in the sequence, also beside empty ones.

    Args:
        axis: the axis's name.
        labels: what stands at the end of each line; without, a legend elsewhere tells them apart by colour and shape.
        words: the name of the quantity, for the other axis.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.9, 2.9), layout="constrained")
        axes = figure.add_subplot()
        low, high = _bounds(lines)
        axes.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
        for index, line in enumerate(lines):
            _draw(axes, line, scale, index, DODGE * (index - (len(lines) - 1) / 2))
        ticks = scale.ticks()
        axes.set_xticks([at for at, _ in ticks], [label for _, label in ticks])
        for tick in axes.get_xticklabels():
            tick.set_parse_math(False)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.set(xlim=(-0.06, 1.06), ylim=(low, high))
        axes.set_xlabel(axis + (" (logarithmic)" if scale.log else ""), parse_math=False)
        axes.set_ylabel(f"{words}\n← harder · easier to attack →", fontsize=8.5, linespacing=1.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if labels:
            _label(axes, lines, labels, low, high)
    return figure


def _bounds(lines: Sequence[SweepLine]) -> tuple[float, float]:
    """The plot's lower and upper edge: zero, the methods and their intervals are in it, and controls that are not far away."""
    low, high = _ends([line for line in lines if not line.control] or lines)
    room = CONTROL_ROOM * (high - low)
    for line in lines:
        ends = _ends([line])
        if max(high, ends[1]) - min(low, ends[0]) <= room:
            low, high = min(low, ends[0]), max(high, ends[1])
    margin = 0.07 * max(high - low, 0.01)
    return low - margin, high + margin


def _ends(lines: Sequence[SweepLine]) -> tuple[float, float]:
    """From the least to the greatest change, with zero; intervals count unless they would press the changes flat."""
    points = [point for line in lines for each in (line.points, *line.thin) for point in each]
    furthest = REACH * max([0.005, *(abs(point.delta) for point in points)])
    ends = [end for point in points for end in (point.delta, point.low, point.high) if end is not None]
    return max(-furthest, min([0.0, *ends])), min(furthest, max([0.0, *ends]))


def beyond(lines: Sequence[SweepLine]) -> list[int]:
    """The places of lines that have a point outside of their plot."""
    low, high = _bounds(lines)
    return [index for index, line in enumerate(lines) if not all(low <= point.delta <= high for point in line.points)]


def _draw(axes: Any, line: SweepLine, scale: Scale, index: int, aside: float) -> None:
    color = LINE_COLORS[index % len(LINE_COLORS)]
    dashes = (0, (4, 2)) if line.control else "solid"
    for thin in line.thin:
        axes.plot(*_coordinates(_joined(thin, scale), scale, aside), color=color, alpha=0.35, linewidth=0.9, linestyle=dashes)
    axes.plot(*_coordinates(_joined(line.points, scale), scale, aside), color=color, linewidth=1.7, linestyle=dashes, zorder=3)
    shape = SHAPES[index % len(SHAPES)]
    axes.plot(*_coordinates(line.points, scale, aside), color=color, marker=shape, markersize=5, linestyle="none", zorder=4)
    for point in line.points:
        if point.low is not None and point.high is not None:
            at = scale.at[point.value] + aside
            axes.plot([at, at], [point.low, point.high], color=color, linewidth=1.2, alpha=0.75, zorder=2)


def _joined(points: Sequence[Point], scale: Scale) -> list[Point]:
    """The points that a line may join: a detached value is no neighbour of a number."""
    return [point for point in points if point.value not in scale.detached]


def _coordinates(points: Sequence[Point], scale: Scale, aside: float) -> tuple[list[float], list[float]]:
    return [scale.at[point.value] + aside for point in points], [point.delta for point in points]


def _label(axes: Any, lines: Sequence[SweepLine], labels: Sequence[str], low: float, high: float) -> None:
    """Each line's label beside its end, moved apart where they would lie on each other; the line's shape and colour lead there."""
    ends = sorted((line.points[-1].delta, index) for index, line in enumerate(lines) if line.points)
    step = LABEL_HEIGHT * (high - low)
    heights: list[float] = []
    for delta, _ in ends:
        heights.append(max(delta, heights[-1] + step if heights else low))
    down = max(0.0, heights[-1] - high) if heights else 0.0
    for (delta, index), height in zip(ends, heights, strict=True):
        color, at = LINE_COLORS[index % len(LINE_COLORS)], height - down
        axes.plot([1.07, 1.11], [delta, at], color=color, linewidth=0.8, clip_on=False)
        axes.plot([1.13], [at], color=color, marker=SHAPES[index % len(SHAPES)], markersize=4, clip_on=False)
        axes.text(1.16, at, labels[index], va="center", fontsize=8, color=INK, parse_math=False)
