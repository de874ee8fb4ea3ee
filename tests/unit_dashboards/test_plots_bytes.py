"""Plots: the same values give the same bytes; what is planted stays text."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
from PIL import Image

from dashboards import plots

CURVE = plots.Curve("alba", ([0.0, 0.0, 0.5, 1.0], [0.0, 0.4, 0.8, 1.0]), ([0.0, 0.0, 0.5, 1.0], [0.0, 0.6, 0.9, 1.0]))
SVG = "{http://www.w3.org/2000/svg}"


def words(svg: bytes) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


def intervals() -> list[plots.Interval]:
    return [
        plots.Interval("dreambooth", "alba", 0.1, 0.05, 0.15, "amplified"),
        plots.Interval("lora", "bruno", -0.1, -0.2, -0.05, "reduced"),
    ]


def test_equal_figures_are_equal_bytes_and_carry_no_date() -> None:
    for write in (plots.svg, plots.png):
        assert write(plots.roc([plots.Panel("a", [CURVE])])) == write(plots.roc([plots.Panel("a", [CURVE])]))
        assert write(plots.forest(intervals())) == write(plots.forest(intervals()))
    assert b"<dc:date>" not in plots.svg(plots.forest(intervals()))


def test_a_roc_has_both_axes_logarithmic_and_names_them() -> None:
    figure = plots.roc([plots.Panel("a", [CURVE])], floor=1e-4)
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert {"false positive rate", "true positive rate", "0.1 %", "1 %", "100 %"} <= set(words(plots.svg(figure)))


def test_guides_stand_at_one_percent_and_one_in_a_thousand_where_they_can_be_seen() -> None:
    def guides(floor: float) -> list[float]:
        (axes,) = plots.roc([plots.Panel("a", [CURVE])], floor=floor).axes
        return [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]

    assert guides(1e-4) == [0.01, 0.001]
    assert guides(5e-3) == [0.01]


def test_before_and_after_are_drawn_as_the_steps_they_are() -> None:
    (axes,) = plots.roc([plots.Panel("a", [CURVE])], floor=1e-3).axes
    before, after = (line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert list(after.get_ydata()) == [0.0005, 0.6, 0.9, 1.0]
    assert list(before.get_xdata()) == [0.001, 0.001, 0.5, 1.0]


def test_a_forest_row_holds_its_interval_and_a_mark_for_its_verdict() -> None:
    (axes,) = plots.forest(intervals()).axes
    lines = {tuple(np.round(line.get_xdata(), 3)): line for line in axes.lines}
    assert (0.05, 0.15) in lines
    assert lines[(0.1,)].get_marker() == plots.MARKERS["amplified"]
    assert lines[(-0.1,)].get_color() == plots.VERDICT_COLORS["reduced"]


def test_planted_markup_and_formulas_stay_text() -> None:
    planted = ["<script>alert(1)</script>", "$\\frac{1}{0$", "_hidden", "名前"]
    curves = [plots.Curve(name, CURVE.before, CURVE.after) for name in planted]
    figure = plots.roc([plots.Panel(planted[0], curves)])
    assert set(planted) <= set(words(plots.svg(figure)))
    rows = [plots.Interval(name, name, 0.0, -0.1, 0.1, "none") for name in planted]
    assert b"<script" not in plots.svg(plots.forest(rows))
    assert set(planted) <= set(words(plots.svg(plots.forest(rows))))


def test_a_png_is_drawn_on_white() -> None:
    image = Image.open(io.BytesIO(plots.png(plots.forest(intervals()))))
    assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    assert image.size[0] > 900
