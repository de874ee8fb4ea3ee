"""A trial's ROC plot, of which all but the curves is drawn once."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageColor

from dashboards import plots
from dashboards.plots import Curve, Panel
from dashboards.trial_roc import DPI, TrialRocs


def panels(power: float, *titles: str) -> list[Panel]:
    rates = [index / 50 for index in range(51)]
    after = [rate**power for rate in rates]
    return [Panel(title, [Curve("after", (rates, rates), (rates, after))]) for title in titles or ("loss", "pia")]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_the_same_values_give_the_same_bytes_whatever_was_drawn_before() -> None:
    rocs = TrialRocs()
    first = rocs.png(panels(0.3))
    other = rocs.png(panels(0.8))
    rocs.png(panels(0.3, "loss"))
    assert rocs.png(panels(0.3)) == first == TrialRocs().png(panels(0.3))
    assert first != other


def test_it_shows_what_a_figure_drawn_whole_shows() -> None:
    rocs = TrialRocs()
    rocs.png(panels(0.8))  # no curve of the one before is left in the next
    whole = pixels(plots.png(plots.roc(panels(0.3), legend=False), dpi=DPI))
    found = pixels(rocs.png(panels(0.3)))
    assert found.shape == whole.shape
    differing = (np.abs(found - whole).max(axis=2) > 40).mean()
    assert differing < 0.001  # where a curve meets a line that is drawn over it in one of the two
    other = pixels(rocs.png(panels(0.8)))
    assert (np.abs(other - whole).max(axis=2) > 40).mean() > 0.005


def test_a_pixel_is_a_byte_and_white_and_the_curves_are_as_they_were() -> None:
    png = TrialRocs().png(panels(0.3))
    assert Image.open(io.BytesIO(png)).mode == "P"
    found = pixels(png)
    assert (found[0, 0] == 255).all()
    for color in (ImageColor.getrgb(plots.LINE_COLORS[0]), ImageColor.getrgb(plots.RULE)):
        assert (found == color).all(axis=2).sum() > 100
    whole = pixels(plots.png(plots.roc(panels(0.3), legend=False), dpi=DPI))
    assert np.abs(found - whole).mean() < 0.5


def test_forms_of_few_grids_are_kept_and_no_more() -> None:
    rocs = TrialRocs(sizes=2)
    for title in ("a", "b", "c"):
        rocs.png(panels(0.5, title))
    assert len(rocs._forms) == 2
