"""A trial's ROC plot as a PNG, hundreds a minute: what is the same in all of them is drawn once, and only the curves anew."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from dashboards.plots import INK, LINE_COLORS, MUTED, RULE, Panel, drawn_on, roc, step_curve

FLOOR, DPI = 1e-3, 96
DRAWN_IN = (INK, MUTED, RULE, LINE_COLORS[0])
"""All colours of such a plot, which has one curve a panel; everything in it lies between one of them and white."""
STEP = 16
"""How far shades of one colour lie apart, at most: with few, a pixel is a byte and not three, which compress in a tenth of the time."""


class TrialRocs:
    """Draws one trial after the other, each with a panel an attack; the same values give the same bytes."""

    def __init__(self, sizes: int = 8) -> None:
        self._sizes = sizes
        self._forms: OrderedDict[tuple[str, ...], _Form] = OrderedDict()

    def png(self, panels: Sequence[Panel]) -> bytes:
        """The panels' curves, log-log, one trial's: before dashed, after solid."""
        titles = tuple(panel.title for panel in panels)
        form = self._forms.pop(titles, None) or _Form(panels)
        self._forms[titles] = form
        while len(self._forms) > self._sizes:
            self._forms.popitem(last=False)
        return form.png(panels)


class _Form:
    """Axes, ticks and titles of a set of panels, drawn once."""

    def __init__(self, panels: Sequence[Panel]) -> None:
        self._figure = roc(panels, floor=FLOOR, legend=False)
        self._figure.set_dpi(DPI)
        self._lines = [[line for line in axes.lines if line.get_drawstyle() == "steps-post"] for axes in self._figure.axes]
        for line in (line for lines in self._lines for line in lines):
            line.set_animated(True)  # left out when the figure is drawn
        with drawn_on(self._figure, "white"):
            self._canvas: Any = _canvas(self._figure)
            self._canvas.draw()
        self._ground = self._canvas.copy_from_bbox(self._figure.bbox)

    def png(self, panels: Sequence[Panel]) -> bytes:
        self._canvas.restore_region(self._ground)
        for axes, lines, panel in zip(self._figure.axes, self._lines, panels, strict=False):  # axes that are left over hold nothing
            (curve,) = panel.curves
            for line, points in zip(lines, (curve.before, curve.after), strict=True):
                line.set_data(*step_curve(points, FLOOR))
                axes.draw_artist(line)
        sink = io.BytesIO()
        drawn = Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")
        drawn.quantize(palette=_palette(), dither=Image.Dither.NONE).save(sink, "png", dpi=(DPI, DPI), compress_level=1)
        return sink.getvalue()


@cache
def _palette() -> Image.Image:
    """White and the shades. Always the same: a palette made of a plot would let its bytes depend on which was the first."""
    shades: list[tuple[int, ...]] = [(255, 255, 255)]
    for color in DRAWN_IN:
        parts = ImageColor.getrgb(color)[:3]
        steps = -(-(255 - min(parts)) // STEP)
        shades += [tuple(round(255 + (part - 255) * step / steps) for part in parts) for step in range(1, steps + 1)]
    image = Image.new("P", (1, 1))
    image.putpalette([part for shade in shades for part in shade])
    return image


def _canvas(figure: Figure) -> Any:
    return FigureCanvasAgg(figure)
