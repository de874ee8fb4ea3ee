"""The report's figures as files: SVG and PNG on white, each with its heading and its keys, and a list of them in words.

The same figures give the same bytes: no date, path or version is in them.
"""

from __future__ import annotations

import copy
import json
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.lines import Line2D

from dashboards import plots
from dashboards.drawings import Drawing, names_of

INDEX = "figures.json"
DPI = 240
LETTERS = 12.0
"""Letters of a heading that have room in an inch."""
KEY_LETTERS = 14.0
"""The same of a key; its line takes the room of some letters too."""
LINE_LETTERS = 5
LINE_INCHES = 0.19


def files(drawings: Sequence[Drawing]) -> dict[str, bytes]:
    """File name -> content: two files for each figure, and the list of all."""
    found: dict[str, bytes] = {}
    listed = []
    for name, drawing in zip(names_of(*((drawing.name,) for drawing in drawings)), drawings, strict=True):
        found[f"{name}.svg"] = plots.svg(alone(drawing), ground="white")
        found[f"{name}.png"] = plots.png(alone(drawing), dpi=DPI)
        listed.append({"name": name, "svg": f"{name}.svg", "png": f"{name}.png", "title": drawing.heading, "words": drawing.words})
    found[INDEX] = (json.dumps(listed, indent=1, ensure_ascii=False) + "\n").encode()
    return found


def alone(drawing: Drawing) -> Any:
    """A copy of the figure that can stand outside of the page: with its heading above and its keys below."""
    figure = copy.deepcopy(drawing.figure)
    width, height = figure.get_size_inches()
    heading = textwrap.wrap(drawing.heading, int(LETTERS * width))
    columns = _columns(drawing, width)
    rows = math.ceil(len(drawing.keys) / columns)
    with mpl.rc_context(plots.STYLE):
        figure.set_size_inches(width, height + LINE_INCHES * (len(heading) + rows) + 0.1 * bool(rows))
        text = figure.suptitle("\n".join(heading), x=0.02, ha="left", fontsize=9.5, fontweight="bold")
        text.set_parse_math(False)
        if drawing.keys:
            _say_keys(figure, drawing, columns)
    return figure


def _columns(drawing: Drawing, width: float) -> int:
    longest = max((len(key.label) for key in drawing.keys), default=0) + LINE_LETTERS
    return max(1, min(len(drawing.keys), int(KEY_LETTERS * width / longest)))


def _say_keys(figure: Any, drawing: Drawing, columns: int) -> None:
    lines = [
        Line2D([], [], color=key.color, marker=key.marker or None, markersize=4, linestyle=(0, (3, 2)) if key.dashed else "solid")
        for key in drawing.keys
    ]
    labels = [key.label for key in drawing.keys]
    legend = figure.legend(lines, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=8, handlelength=1.8)
    for text in legend.get_texts():
        text.set_parse_math(False)
