"""The report in a real browser: readable from phone to desk, by day and by night, on paper, and silent on the network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.report import report
from tests.grid_by_hand import loud, quiet

CHROMIUM = Path(os.environ.get("S2L_TEST_CHROMIUM", "/usr/bin/chromium"))
pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}: apt-get install chromium, or set S2L_TEST_CHROMIUM"
)
__all__ = ["loud", "quiet"]

WIDTHS = (360, 390, 768, 1280, 2200)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(quiet: Any, loud: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    written = {name: folder / f"{name}.html" for name in ("quiet", "loud")}
    written["quiet"].write_text(report(quiet.plan, quiet.ledger), encoding="utf-8")
    written["loud"].write_text(report(loud.plan, loud.ledger), encoding="utf-8")
    return written


class Visit:
    """An open page, with what it asked for and what it complained about."""

    def __init__(self, browser: Any, path: Path, *, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["quiet", "loud"])
def test_the_page_never_scrolls_sideways(chromium: Any, pages: dict[str, Path], name: str, width: int) -> None:
    with Visit(chromium, pages[name], width=width) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_asks_for_nothing_and_complains_of_nothing(chromium: Any, pages: dict[str, Path]) -> None:
    for path in pages.values():
        with Visit(chromium, path) as visit:
            assert visit.requests == [path.as_uri()]
            assert visit.complaints == []


def test_planted_markup_does_not_run_and_is_seen_as_text(chromium: Any, pages: dict[str, Path]) -> None:
    with Visit(chromium, pages["loud"]) as visit:
        visit.page.mouse.move(300, 300)
        assert visit.page.get_by_text("<script>alert(1)</script>").first.is_visible()
        assert visit.page.locator("script, [onmouseover]").count() == 0
        assert visit.complaints == []


def test_the_finding_is_the_first_thing_seen(chromium: Any, pages: dict[str, Path]) -> None:
    for name, words in (("quiet", "No amplification was found"), ("loud", "Fine-tuning made members easier to find")):
        with Visit(chromium, pages[name], width=390) as visit:
            heading = visit.page.get_by_role("heading", level=2).first
            assert heading.inner_text() == words
            assert heading.bounding_box()["y"] < 450


CONTRAST = """(selector) => {
  const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (text) => rgb(text).map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$|transparent/.test(color)) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll(selector)].map((node) => {
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05); });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_verdicts_stand_out_enough_to_be_read(chromium: Any, pages: dict[str, Path], scheme: str) -> None:
    with Visit(chromium, pages["loud"], scheme=scheme) as visit:
        for selector in (".verdict", "p", "li", "td", "th", ".ci", ".note", ".card .state", "h2"):
            ratios = visit.page.evaluate(CONTRAST, selector)
            assert ratios, selector
            assert min(ratios) >= 4.5, (selector, scheme, min(ratios))


def test_every_verdict_has_its_word_and_not_a_colour_alone(chromium: Any, pages: dict[str, Path]) -> None:
    with Visit(chromium, pages["loud"]) as visit:
        words = visit.page.locator(".verdict").all_text_contents()
        assert len(words) > 20
        assert all(word.split()[-1] in ("amplified", "reduced", "none", "inverted") for word in words)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_text_of_plots_is_large_enough(chromium: Any, pages: dict[str, Path], width: int) -> None:
    with Visit(chromium, pages["quiet"], width=width) as visit:
        sizes = visit.page.evaluate("[...document.querySelectorAll('svg text')].map((node) => node.getBoundingClientRect().height)")
        assert len(sizes) > 50
        assert min(sizes) >= 8


def test_plots_turn_dark_with_the_page(chromium: Any, pages: dict[str, Path]) -> None:
    def tick(scheme: str) -> str:
        with Visit(chromium, pages["quiet"], scheme=scheme) as visit:
            return visit.page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")

    assert tick("light") != tick("dark")


def test_paper_shows_what_the_screen_folds_away(chromium: Any, pages: dict[str, Path]) -> None:
    with Visit(chromium, pages["quiet"]) as visit:
        shown = "getComputedStyle(document.querySelector('details'), '::details-content').contentVisibility"
        assert visit.page.evaluate(shown) == "hidden"
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate(shown) == "visible"
        assert len(visit.page.pdf()) > 50_000
