"""Plots against an axis: the same bytes each time, with intervals, zero line and shapes; far controls press nothing flat."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from dashboards import curves, plots
from dashboards.curves import Point, SweepLine
from dashboards.scale import scale_of

RANKS = scale_of([1, 2, 4])
SVG = "{http://www.w3.org/2000/svg}"


def line(*deltas: float, half: float | None = 0.01, **settings: Any) -> SweepLine:
    points = [
        Point(rank, delta, None if half is None else delta - half, None if half is None else delta + half)
        for rank, delta in zip((1, 2, 4), deltas, strict=True)
    ]
    return SweepLine(points, **settings)


def words(svg: bytes) -> set[str]:
    return {"".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")}


def drawn(axes: Any) -> list[Any]:
    return [each for each in axes.lines if len(each.get_xdata()) == 3]


def test_equal_curves_are_equal_bytes_and_name_their_axes() -> None:
    once, again = (plots.svg(curves.sweep([line(0.1, 0.2, 0.3)], RANKS, axis="rank")) for _ in range(2))
    assert once == again
    assert {"rank (logarithmic)", "1", "2", "4", "change of AUC"} <= words(once)


def test_the_zero_line_and_every_interval_are_drawn() -> None:
    (axes,) = curves.sweep([line(0.1, 0.2, 0.3)], RANKS, axis="rank").axes
    assert any(list(each.get_ydata()) == [0, 0] for each in axes.lines)
    intervals = [tuple(round(y, 3) for y in each.get_ydata()) for each in axes.lines if len(set(each.get_xdata())) == 1]
    assert {(0.09, 0.11), (0.19, 0.21), (0.29, 0.31)} <= set(intervals)


def test_a_mere_mean_has_no_interval_and_its_domains_are_thin() -> None:
    thin = [[Point(rank, delta) for rank, delta in zip((1, 2, 4), deltas, strict=True)] for deltas in ((0.1, 0.1, 0.1), (0.3, 0.3, 0.3))]
    (axes,) = curves.sweep([line(0.2, 0.2, 0.2, half=None, thin=thin)], RANKS, axis="rank").axes
    assert not [each for each in axes.lines if len(each.get_xdata()) == 2 and len(set(each.get_xdata())) == 1]
    widths = sorted(each.get_linewidth() for each in drawn(axes) if each.get_linestyle() != "None")
    assert widths == [0.9, 0.9, 1.7]


def test_controls_are_dashed_and_lines_differ_in_colour_and_shape() -> None:
    (axes,) = curves.sweep([line(0.1, 0.2, 0.3), line(0.2, 0.2, 0.2, control=True)], RANKS, axis="rank").axes
    method, control = (each for each in drawn(axes) if each.get_linestyle() != "None")
    assert (method.get_linestyle(), control.get_linestyle()) == ("-", "--")
    shapes = [(each.get_color(), each.get_marker()) for each in drawn(axes) if each.get_linestyle() == "None"]
    assert shapes == list(zip(plots.LINE_COLORS[:2], curves.SHAPES[:2], strict=True))


def test_a_word_is_drawn_but_joined_to_no_number() -> None:
    scale = scale_of([1, 2, 4, "match"])
    with_word = SweepLine([Point(value, 0.1) for value in (1, 2, 4, "match")])
    (axes,) = curves.sweep([with_word], scale, axis="sigma").axes
    joined = [len(each.get_xdata()) for each in axes.lines if each.get_linestyle() == "-" and len(each.get_xdata()) > 2]
    marked = [len(each.get_xdata()) for each in axes.lines if each.get_linestyle() == "None"]
    assert (joined, marked) == ([3], [4])


def test_a_control_that_lies_far_away_does_not_press_the_methods_flat_and_is_named() -> None:
    near, far = line(0.03, 0.03, 0.03, control=True), line(0.5, 0.5, 0.5, control=True)
    lines = [line(0.01, 0.02, 0.03), near, far]
    (axes,) = curves.sweep(lines, RANKS, axis="rank").axes
    assert axes.get_ylim()[1] < 0.1
    assert curves.beyond(lines) == [2]
    assert curves.beyond([far]) == []


def test_an_interval_as_wide_as_the_scale_does_not_press_the_changes_flat() -> None:
    (axes,) = curves.sweep([line(0.01, 0.02, 0.03, half=1.0)], RANKS, axis="rank").axes
    assert axes.get_ylim()[1] < 0.12


def test_labels_at_the_ends_of_lines_do_not_lie_on_each_other() -> None:
    lines, labels = [line(0.1, 0.1, 0.1 + index / 1e4) for index in range(9)], [f"way {index}" for index in range(9)]
    (axes,) = curves.sweep(lines, RANKS, axis="rank", labels=labels).axes
    heights = sorted(text.get_position()[1] for text in axes.texts)
    low, high = axes.get_ylim()
    assert len(heights) == 9
    assert min(second - first for first, second in itertools.pairwise(heights)) >= 0.9 * curves.LABEL_HEIGHT * (high - low)


@pytest.mark.parametrize("planted", ["<script>alert(1)</script>", "$\\frac{1}{0$"])
def test_planted_markup_and_formulas_stay_text(planted: str) -> None:
    svg = plots.svg(curves.sweep([line(0.1, 0.2, 0.3)] * 7, scale_of([1, 2, 4, planted]), axis=planted, labels=[planted] * 7))
    assert b"<script" not in svg
    assert {planted, f"{planted} (logarithmic)"} <= words(svg)
