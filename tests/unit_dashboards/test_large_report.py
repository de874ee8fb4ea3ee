"""A report over three hundred trials: readable, small, and nothing counted that is not evidence."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from dashboards import plots
from dashboards.report import report
from tests.ablations_by_hand import METHODS


class Folded(HTMLParser):
    """Counts a page's elements inside and outside of what is folded away, and gathers its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.depth, self.shown, self.folded, self.words = 0, 0, 0, ""
        self.ids: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        if (tag == "details" and "open" not in found) or self.depth:
            self.depth += tag == "details"
            self.folded += 1
        else:
            self.shown += 1

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "details" and self.depth > 0

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def source(many: Any) -> str:
    return report(many.plan, many.ledger)


@pytest.fixture(scope="module")
def page(source: str) -> Folded:
    return Folded(source)


def test_three_hundred_trials_stay_under_two_megabytes(many: Any, source: str) -> None:
    assert len(many.plan.trials) == 288
    assert len(source.encode()) < 2_000_000


def test_what_is_seen_at_once_is_a_small_part_of_what_is_there(page: Folded) -> None:
    assert page.shown < 1_500
    assert page.folded > 4 * page.shown


def test_every_method_has_a_row_and_every_id_is_its_own(page: Folded) -> None:
    text = re.sub(r"\s+", " ", page.words)
    assert all(method in text for method in METHODS)
    assert len(page.ids) == len(set(page.ids))


def test_conditions_are_explained_once_and_marked_where_they_stand(page: Folded) -> None:
    text = re.sub(r"\s+", " ", page.words)
    assert text.count("Some methods train a new token") == 1
    assert text.count("↳ @own-caption") == 3
    assert text.count("↳ @base-vae") == 1


def test_the_test_over_domains_is_shown_with_the_smallest_p_that_it_can_give(page: Folded) -> None:
    text = re.sub(r"\s+", " ", page.words)
    assert "corrected for the 10 tests of methods and attacks in this report (Holm)" in text
    assert "The smallest p that can come out here is 0.005." in text


def test_of_many_domains_a_few_are_drawn_and_it_says_so(page: Folded) -> None:
    text = re.sub(r"\s+", " ", page.words)
    assert "Drawn are of 12 domains the 6 with the largest changes, of several seeds the first, of 13 ways the first 12." in text


def test_a_panel_of_roc_curves_holds_no_more_curves_than_there_are_colours(many: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str]] = []
    real = plots.roc

    def roc(panels: Any, **settings: Any) -> Any:
        drawn.extend([curve.label for curve in panel.curves] for panel in panels)
        return real(panels, **settings)

    monkeypatch.setattr(plots, "roc", roc)
    report(many.plan, many.ledger)
    assert len(drawn) == 12
    assert all(len(labels) == len(set(labels)) == len(plots.LINE_COLORS) for labels in drawn)


def test_rates_are_those_of_the_pools_where_trials_are_many(source: str) -> None:
    rates = source[source.index("How many members an attacker finds") : source.index("How to read the verdicts")]
    assert "all 12 domains, pooled" in rates
    assert "person-01, seed 0" not in rates


def test_the_same_ledger_gives_the_same_page(many: Any, source: str) -> None:
    assert report(many.plan, many.ledger) == source
