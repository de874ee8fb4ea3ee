"""Figures as files: the same bytes each time, on white, with their headings and keys, under names that are safe; and never an image."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from dashboards import plots
from dashboards.drawings import Drawing, Key, names_of
from dashboards.files import DPI, INDEX, alone, files
from dashboards.report import report, reported

SVG = "{http://www.w3.org/2000/svg}"


def words(svg: bytes) -> set[str]:
    return {"".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")}


def figures(world: Any) -> list[Drawing]:
    return reported(world.plan, world.ledger)[1]


def drawing(name: str = "one", heading: str = "A heading", keys: tuple[Key, ...] = ()) -> Drawing:
    rows = [plots.Interval("lora", "alba", 0.1, 0.05, 0.15, "amplified")]
    return Drawing("title", "words", name, heading, plots.forest(rows, width=3.9), keys)


def test_each_figure_of_the_page_is_two_files_and_a_line_of_the_index(ranks: Any) -> None:
    page, found = reported(ranks.plan, ranks.ledger)
    written = files(found)
    index = json.loads(written[INDEX])
    assert page.count("<svg") == len(found) == len(index)
    assert set(written) == {INDEX, *(one[form] for one in index for form in ("svg", "png"))}
    assert {"sweep-rank-loss", "sweep-rank-secmi", "roc-loss-lora-rank-1-alpha-rank"} <= {one["name"] for one in index}
    assert all(one["title"] and one["words"] for one in index)


def test_every_kind_of_figure_has_a_file(quiet: Any, gives_back: Any) -> None:
    names = [one.name for world in (quiet, gives_back) for one in figures(world)]
    assert {"at-a-glance", "extraction-lora-l2", "extraction-lora-tile-max", "roc-secmi-dreambooth"} <= set(names)


def test_the_same_ledger_gives_the_same_bytes_also_after_the_page_was_made(gives_back: Any) -> None:
    once = files(figures(gives_back)[:3])
    report(gives_back.plan, gives_back.ledger)
    found = figures(gives_back)[:3]
    assert files(found) == once
    assert files(found) == once, "showing a figure does not change it"


def test_a_file_says_no_date_and_no_path(gives_back: Any) -> None:
    for name, content in files(figures(gives_back)[:2]).items():
        assert str(Path(__file__).parents[2]).encode() not in content
        if name.endswith(".svg"):
            assert not re.search(rb"<dc:date>|matplotlib v|20\d\d-\d\d-\d\d", content)
        elif name.endswith(".png"):
            assert not set(Image.open(io.BytesIO(content)).info) - {"dpi"}


def test_a_file_is_on_white_in_print_quality_and_its_text_is_text() -> None:
    written = files([drawing()])
    image = Image.open(io.BytesIO(written["one.png"]))
    assert image.convert("RGBA").getpixel((1, 1)) == (255, 255, 255, 255)
    assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=1)
    assert DPI >= 200
    ground = next(ET.fromstring(written["one.svg"]).iter(f"{SVG}path"))
    assert "fill: #ffffff" in ground.attrib["style"]
    assert {"A heading", "lora", "alba"} <= words(written["one.svg"])


def test_a_roc_has_its_keys_in_the_file_and_not_in_the_page(quiet: Any) -> None:
    roc = next(one for one in figures(quiet) if one.name.startswith("roc-"))
    assert {"alba", "bruno", "chiara", "after", "before"} <= words(plots.svg(alone(roc)))
    assert "alba" not in roc.svg
    assert isinstance(roc.figure, Figure)
    assert not roc.figure.legends


def test_a_forest_says_what_its_marks_mean(quiet: Any) -> None:
    glance = next(one for one in figures(quiet) if one.name == "at-a-glance")
    assert [key.label for key in glance.keys] == ["amplified", "none"]
    assert {"amplified", "none"} <= words(plots.svg(alone(glance)))


def test_names_are_slugs_and_none_is_there_twice() -> None:
    assert names_of(("roc", "loss", "../../etc/passwd"), ("roc", "loss", "<script>")) == ["roc-loss-etc-passwd", "roc-loss-script"]
    assert names_of(("roc", "名前"), ("roc", "ß"), ("roc", "a"), ("roc", "A")) == ["roc", "roc-2", "roc-a", "roc-a-2"]
    assert names_of(("a",), ("a-2",), ("a",), ("A 3",), ("a",)) == ["a", "a-2", "a-3", "a-3-2", "a-4"]
    (long,) = names_of(("roc", "x" * 500))
    assert len(long) <= 80
    written = files([drawing("same"), drawing("same")])
    assert set(written) == {"same.svg", "same.png", "same-2.svg", "same-2.png", INDEX}


def test_planted_markup_and_formulas_stay_text() -> None:
    planted = "<script>alert(1)</script> $x$"
    written = files([drawing(heading=planted, keys=(Key("$\\frac{1}{0$", "#0072b2"), Key("_hidden", "#0072b2", dashed=True)))])
    assert b"<script" not in written["one.svg"]
    assert {planted, "$\\frac{1}{0$", "_hidden"} <= words(written["one.svg"])


def test_no_figure_holds_an_image_also_of_a_private_report(gives_back: Any) -> None:
    public = files(figures(gives_back))
    private = files(reported(gives_back.plan, gives_back.ledger, show_private=True)[1])
    assert private == public
    assert not any(b"<image" in content for name, content in private.items() if name.endswith(".svg"))
