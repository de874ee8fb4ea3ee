"""Plots as figure objects: ROC curves on logarithmic axes and intervals of differences. The same values give the same bytes."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

INK, MUTED, RULE = "#1b2430", "#667080", "#d5dae1"
VERDICT_COLORS = {"amplified": "#b3341f", "reduced": "#1f6fb2", "none": "#6b7481", "inverted": "#7a3fa0"}
# Okabe and Ito's palette without its yellow: told apart by colour-blind readers, on white and on dark.
LINE_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
PAGE_COLORS = (
    {"ink": INK, "muted": MUTED, "rule": RULE}
    | {f"verdict-{name}": color for name, color in VERDICT_COLORS.items()}
    | {f"line-{index}": color for index, color in enumerate(LINE_COLORS)}
)
"""CSS variable -> the colour that a plot has on white, so that a page can give it another in the dark."""

MARKERS = {"amplified": "^", "reduced": "v", "none": "o", "inverted": "D"}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "s2l",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
}

Points = tuple[Sequence[float], Sequence[float]]
"""False positive rates, true positive rates."""


@dataclass(frozen=True)
class Curve:
    """One trial's ROC before and after the shake."""

    label: str
    before: Points
    after: Points


@dataclass(frozen=True)
class Panel:
    """Curves that share axes; a method, as a rule."""

    title: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Interval:
    """A difference with its interval: one row of a forest plot, under a group's heading. A mere mean has no interval and no verdict."""

    group: str
    label: str
    delta: float
    low: float | None
    high: float | None
    verdict: str | None


def colors_of(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each distinct label, in order; the palette begins again when it ends."""
    return {label: LINE_COLORS[index % len(LINE_COLORS)] for index, label in enumerate(dict.fromkeys(labels))}


def roc(
    panels: Sequence[Panel], *, floor: float = 1e-3, columns: int = 3, legend: bool = True, colors: Mapping[str, str] | None = None
) -> Figure:
    """Small multiples of ROC curves, log-log, with the chance line and guides at FPR 1 % and 0.1 %.

    Args:
        floor: the smallest rate shown; what is smaller is drawn there. Half of 1 / non-members is a good choice.
        colors: label -> colour; the palette's by default.
    """
    labels = list(dict.fromkeys(curve.label for panel in panels for curve in panel.curves))
    colors = colors or colors_of(labels)
    columns = max(1, min(columns, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.0 * columns + 0.3, 3.05 * rows + (0.5 if legend else 0)), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for index, axes in enumerate(grid.flat):
            if index < len(panels):
                _roc_panel(axes, panels[index], colors, floor)
            else:
                axes.set_axis_off()
        _name_axes(grid, len(panels))
        if legend and len(labels) <= len(LINE_COLORS):
            _legend(figure, {label: colors[label] for label in labels})
    return figure


def _roc_panel(axes: Any, panel: Panel, colors: Mapping[str, str], floor: float) -> None:
    axes.set_title(panel.title, fontsize=9, fontweight="bold", loc="left", wrap=True).set_parse_math(False)
    axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1.15), aspect="equal")
    axes.minorticks_off()  # they have no length, and laying them out takes most of the time
    axes.spines[["top", "right"]].set_visible(False)
    axes.plot([floor, 1], [floor, 1], color=RULE, linewidth=1)
    for rate in (0.01, 0.001):
        if rate > floor:
            axes.axvline(rate, color=RULE, linewidth=0.8, linestyle=(0, (2, 3)))
    for curve in panel.curves:
        color = colors[curve.label]
        axes.plot(*step_curve(curve.before, floor), color=color, alpha=0.45, linewidth=1.1, linestyle=(0, (3, 2)), drawstyle="steps-post")
        axes.plot(*step_curve(curve.after, floor), color=color, linewidth=1.6, drawstyle="steps-post")
    axes.set_xticks(
        [tick for tick in (0.001, 0.01, 0.1, 1) if tick >= floor], [_percent(tick) for tick in (0.001, 0.01, 0.1, 1) if tick >= floor]
    )
    axes.set_yticks(
        [tick for tick in (0.001, 0.01, 0.1, 1) if tick >= floor], [_percent(tick) for tick in (0.001, 0.01, 0.1, 1) if tick >= floor]
    )


def step_curve(points: Points, floor: float) -> tuple[list[float], list[float]]:
    """A step curve clipped to the axes: rates of zero have no logarithm."""
    fpr, tpr = points
    return [max(float(x), floor) for x in fpr], [max(float(y), floor / 2) for y in tpr]


def _percent(rate: float) -> str:
    return f"{100 * rate:g} %"


def _name_axes(grid: Any, used: int) -> None:
    rows, columns = grid.shape
    for index in range(used):
        if index + columns >= used:
            axes = grid[index // columns, index % columns]
            axes.set_xlabel("false positive rate")
            axes.tick_params(labelbottom=True)
    for row in range(rows):
        grid[row, 0].set_ylabel("true positive rate")


def _legend(figure: Figure, colors: Mapping[str, str]) -> None:
    handles = [Line2D([], [], color=color, linewidth=1.8) for color in colors.values()]
    handles += [Line2D([], [], color=MUTED, linewidth=1.6), Line2D([], [], color=MUTED, alpha=0.6, linewidth=1.1, linestyle=(0, (3, 2)))]
    labels = [*colors, "after", "before"]
    legend = figure.legend(
        handles, labels, loc="outside upper left", ncols=min(5, len(labels)), frameon=False, handlelength=1.6, fontsize=8.5
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


LABEL_ROOM, HEADING_ROOM = 5.3, 11.0
"""Characters for each inch of a forest's width that have room beside its rows, and above them."""


NARROW = 4.5
"""Inches up to which a forest's axis is named in short."""


def forest(intervals: Sequence[Interval], *, words: str = "change of AUC", width: float = 7.2) -> Figure:
    """Differences with their intervals, one row each, under a heading for each group; marks and colours say the verdict.

    Long labels stand above their rows, and long headings in several lines: beside them, nothing would be left for the intervals.

    Args:
        words: the name of the quantity, for the axis.
        width: in inches.
    """
    groups: dict[str, list[Interval]] = {}
    for interval in intervals:
        groups.setdefault(interval.group, []).append(interval)
    ends = [end for each in intervals for end in (each.delta, each.low, each.high) if end is not None]
    reach = max([0.02, *(abs(end) for end in ends)]) * 1.08
    attack = " to attack" if width > NARROW else ""
    above = max((len(each.label) for each in intervals), default=0) > LABEL_ROOM * width
    rows = _ForestRows(above=above, left=-reach, room=int(HEADING_ROOM * width))
    with mpl.rc_context(STYLE):
        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        for name, members in groups.items():
            rows.draw(axes, name, members)
        figure.set_size_inches(width, 0.245 * rows.at + 0.75)
        axes.set_yticks([at for at, _ in rows.ticks], [label for _, label in rows.ticks])
        for tick in axes.get_yticklabels():
            tick.set(color=INK, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, symmetric=True))
        axes.grid(axis="x", color=RULE, linewidth=0.6)
        axes.set(xlim=(-reach, reach), ylim=(rows.at - 0.3, -0.7), xlabel=f"← harder{attack} · {words} · easier{attack} →")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


class _ForestRows:
    """Draws groups of rows from the top down.

    Attributes:
        at: where the next heading stands, in rows.
        ticks: (position, label) of the rows whose labels stand beside them.
    """

    def __init__(self, *, above: bool, left: float, room: int) -> None:
        self.above, self.left, self.room = above, left, room
        self.at = 0.0
        self.ticks: list[tuple[float, str]] = []

    def draw(self, axes: Any, name: str, members: Sequence[Interval]) -> None:
        for number, line in enumerate(textwrap.wrap(name, self.room) or [""]):
            self.at += 0.85 if number else 0.0
            self._text(axes, line, weight="bold")
        first = self.at
        for interval in members:
            self.at += 1
            if self.above:
                self._text(axes, interval.label, weight="normal")
                self.at += 0.8
            else:
                self.ticks.append((self.at, interval.label))
            self._interval(axes, interval)
        axes.plot([0, 0], [first + 0.4, self.at + 0.6], color=MUTED, linewidth=0.9, zorder=1)
        self.at += 1.35

    def _text(self, axes: Any, words: str, *, weight: str) -> None:
        text = axes.text(self.left, self.at, words, fontweight=weight, va="center", parse_math=False)
        text.set_in_layout(False)  # it may reach beyond the axes, and must not press them together

    def _interval(self, axes: Any, interval: Interval) -> None:
        color, marker = VERDICT_COLORS[interval.verdict or "none"], MARKERS[interval.verdict or "none"]
        if interval.low is not None and interval.high is not None:
            axes.plot([interval.low, interval.high], [self.at, self.at], color=color, linewidth=1.8, solid_capstyle="butt")
        axes.plot([interval.delta], [self.at], color=color, marker=marker, markersize=5.5, linestyle="none")


def svg(figure: Figure, *, ground: str = "none") -> bytes:
    """The figure as SVG, with text as text and without a date.

    Args:
        ground: what lies behind it; "none": the page.
    """
    sink = io.BytesIO()
    with drawn_on(figure, ground):
        FigureCanvasSVG(figure).print_svg(sink, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return sink.getvalue()


def png(figure: Figure, *, dpi: int = 144) -> bytes:
    """The figure as PNG on white."""
    sink = io.BytesIO()
    figure.set_dpi(dpi)
    with drawn_on(figure, "white"):
        FigureCanvasAgg(figure).print_png(sink, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return sink.getvalue()


@contextmanager
def drawn_on(figure: Figure, ground: str) -> Iterator[None]:
    figure.set_facecolor(ground)
    for axes in figure.axes:
        axes.set_facecolor("none")
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
