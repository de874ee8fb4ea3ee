"""The report in a real browser: readable from phone to desk, by day and by night, on paper, and silent on the network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.files import files
from dashboards.report import report, reported
from tests.ablations_by_hand import many, ranks, transfer
from tests.chosen_by_hand import chosen
from tests.extraction_by_hand import gives_back
from tests.grid_by_hand import loud, quiet
from tests.known_by_hand import names_asked

CHROMIUM = Path(os.environ.get("S2L_TEST_CHROMIUM", "/usr/bin/chromium"))
pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}: apt-get install chromium, or set S2L_TEST_CHROMIUM"
)
__all__ = ["chosen", "gives_back", "loud", "many", "names_asked", "quiet", "ranks", "transfer"]

LEAKING_SPLIT = "The split leaks by itself: members can be told from non-members without the model in 3 of 3 domains"
NAMES = ("quiet", "loud", "ranks", "transfer", "many", "gives_back", "names_asked", "chosen")

WIDTHS = (360, 390, 768, 1280, 2200)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    written = {name: folder / f"{name}.html" for name in NAMES}
    for name, path in written.items():
        world = request.getfixturevalue(name)
        path.write_text(report(world.plan, world.ledger), encoding="utf-8")
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
@pytest.mark.parametrize("name", NAMES)
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
    for name, words in (("quiet", "No amplification was found"), ("loud", LEAKING_SPLIT)):
        with Visit(chromium, pages[name], width=390) as visit:
            heading = visit.page.get_by_role("heading", level=2).first
            assert heading.inner_text() == words
            assert heading.bounding_box()["y"] < 450


def test_how_attacks_were_set_is_whole_on_a_phone_and_named_without_its_heading(chromium: Any, pages: dict[str, Path]) -> None:
    for width in (360, 768, 1280):
        with Visit(chromium, pages["chosen"], width=width) as visit:
            table = visit.page.locator("table.settings")
            assert table.evaluate("(node) => node.parentElement.scrollWidth <= node.parentElement.clientWidth"), width
    with Visit(chromium, pages["chosen"], width=360) as visit:
        cell = visit.page.locator("table.settings td").last
        assert cell.evaluate("(node) => getComputedStyle(node, '::before').content") == '"how set: "'


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


TINTED = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (color) => color.map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = rgb(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll('.matrix td span')].map((node) => {
    const over = getComputedStyle(node.parentElement, '::before');
    const tint = rgb(over.backgroundColor), part = Number(over.opacity);
    const behind = paper.map((c, i) => c * (1 - part) + tint[i] * part);
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind)].sort((x, y) => y - x);
    return [part, (a + 0.05) / (b + 0.05)]; });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_stand_out_from_the_colours_of_their_cells(chromium: Any, pages: dict[str, Path], scheme: str) -> None:
    with Visit(chromium, pages["transfer"], scheme=scheme) as visit:
        cells = visit.page.evaluate(TINTED)
        assert len(cells) == 32
        assert max(part for part, _ in cells) == pytest.approx(0.45)
        assert min(ratio for _, ratio in cells) >= 4.5


def test_a_matrix_stays_a_matrix_on_a_phone_and_names_its_rows_while_it_is_moved(chromium: Any, pages: dict[str, Path]) -> None:
    with Visit(chromium, pages["transfer"], width=360) as visit:
        tops = visit.page.evaluate("[...document.querySelector('.matrix tbody tr').cells].map((cell) => cell.getBoundingClientRect().top)")
        assert len(tops) == 5
        assert len(set(tops)) == 1
        left = "document.querySelector('.matrix tbody th').getBoundingClientRect().left"
        before = visit.page.evaluate(left)
        visit.page.evaluate("document.querySelector('.matrix').parentElement.scrollLeft = 60")
        assert visit.page.evaluate(left) == pytest.approx(before, abs=1)


def test_a_large_page_lays_out_only_what_is_seen(chromium: Any, pages: dict[str, Path]) -> None:
    with Visit(chromium, pages["many"]) as visit:
        assert visit.page.evaluate("document.documentElement.scrollHeight") < 9_000
        assert visit.page.get_by_text("person-01, seed 0").first.is_visible() is False
        visit.page.get_by_text("Every trial").first.click()
        assert visit.page.get_by_text("person-01, seed 0").first.is_visible()


FONT_SIZES = """() => [...document.querySelectorAll('svg text')].filter((node) => node.checkVisibility()).map((node) => {
  const scale = node.getScreenCTM();
  return parseFloat(getComputedStyle(node).fontSize) * Math.hypot(scale.a, scale.b); })"""


@pytest.mark.parametrize(("name", "least"), [("quiet", 50), ("ranks", 20), ("gives_back", 30)])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_text_of_plots_is_large_enough(chromium: Any, pages: dict[str, Path], width: int, name: str, least: int) -> None:
    with Visit(chromium, pages[name], width=width) as visit:
        sizes = visit.page.evaluate(FONT_SIZES)
        assert len(sizes) > least
        assert min(sizes) >= 8


def test_plots_turn_dark_with_the_page(chromium: Any, pages: dict[str, Path]) -> None:
    def tick(scheme: str) -> str:
        with Visit(chromium, pages["quiet"], scheme=scheme) as visit:
            return visit.page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")

    assert tick("light") != tick("dark")


def test_paper_shows_what_the_screen_folds_away(chromium: Any, pages: dict[str, Path]) -> None:
    with Visit(chromium, pages["quiet"]) as visit:
        shown = "getComputedStyle(document.querySelector('details:not([open])'), '::details-content').contentVisibility"
        assert visit.page.evaluate(shown) == "hidden"
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate(shown) == "visible"
        assert len(visit.page.pdf()) > 50_000


def test_what_models_give_back_is_a_section_with_its_curves_in_sight(chromium: Any, pages: dict[str, Path]) -> None:
    for width in (390, 1280):
        with Visit(chromium, pages["gives_back"], width=width) as visit:
            section = visit.page.get_by_role("region", name="What the models give back")
            assert section.is_visible()
            assert section.get_by_role("img").count() == 4
            assert all(
                box["x"] >= 0 and box["x"] + box["width"] <= width for box in (one.bounding_box() for one in section.locator("svg").all())
            )


@pytest.mark.parametrize("width", [390, 1280])
def test_a_private_copy_shows_its_pictures_and_never_scrolls_sideways(chromium: Any, gives_back: Any, tmp_path: Path, width: int) -> None:
    path = tmp_path / "private.html"
    path.write_text(report(gives_back.plan, gives_back.ledger, show_private=True), encoding="utf-8")
    with Visit(chromium, path, width=width) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        sizes = visit.page.evaluate("[...document.images].map((image) => image.naturalWidth)")
        assert len(sizes) > 20
        assert min(sizes) > 0
        assert visit.requests[1:] == [request for request in visit.requests[1:] if request.startswith("data:")]
        assert visit.page.get_by_role("region", name="Matches, in pictures (private)").is_visible()


CUT = """() => { const frame = document.documentElement.getBoundingClientRect();
  return [...document.querySelectorAll('text')].filter((node) => {
    const box = node.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  }).map((node) => node.textContent); }"""


@pytest.mark.parametrize("name", ["quiet", "ranks", "gives_back"])
def test_each_plot_s_file_opens_by_itself_with_no_word_cut(
    request: pytest.FixtureRequest, chromium: Any, tmp_path: Path, name: str
) -> None:
    world = request.getfixturevalue(name)
    _, figures = reported(world.plan, world.ledger)
    assert len(figures) >= 3
    for file, content in files(figures).items():
        if file.endswith(".svg"):
            (tmp_path / file).write_bytes(content)
            with Visit(chromium, tmp_path / file) as visit:
                assert visit.page.evaluate("document.documentElement.tagName") == "svg"
                assert len(visit.page.evaluate("[...document.querySelectorAll('text')].map((node) => node.textContent)")) > 5
                assert visit.page.evaluate(CUT) == [], file
                assert visit.requests == [(tmp_path / file).as_uri()]
                assert visit.complaints == []
