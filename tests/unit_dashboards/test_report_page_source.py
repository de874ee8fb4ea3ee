"""The report's HTML: self-contained, honest about controls, deaf to planted markup, and without private images unless asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dashboards.groups import groups_of
from dashboards.report import report
from dashboards.results import cells
from dashboards.warned import warnings
from dashboards.words import short
from jobs.plan.graph import ancestors
from tests.grid_by_hand import world_in, world_of

MakeWorld = Callable[..., Any]


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def quiet_page(quiet: Any) -> Page:
    return Page(report(quiet.plan, quiet.ledger))


@pytest.fixture(scope="module")
def loud_page(loud: Any) -> Page:
    return Page(report(loud.plan, loud.ledger))


def test_the_page_needs_nothing_from_outside(quiet_page: Page) -> None:
    for tag, attributes in quiet_page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "xlink:href", "action", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (tag, name, value)
    assert not re.search(r"@import|url\((?!#)", " ".join(quiet_page.words))


def test_a_policy_in_the_page_forbids_scripts_and_requests(quiet_page: Page) -> None:
    policy = next(found["content"] for tag, found in quiet_page.tags if found.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_every_domain_method_and_attack_is_in_the_tables(quiet_page: Page) -> None:
    for words in (
        "alba",
        "bruno",
        "chiara",
        "dreambooth",
        "lora+dreambooth, rank 1",
        "lora+dreambooth, rank 8",
        "Attack: loss",
        "Attack: secmi",
    ):
        assert words in quiet_page.text
    assert quiet_page.text.count("all 3 domains, pooled") >= 10


def test_a_row_shows_before_after_and_amplification_with_intervals(quiet: Any, quiet_page: Page) -> None:
    trial = next(trial for trial in quiet.plan.trials if trial.axes["train_on"] == "members")
    auc = quiet.measured(trial, "loss")["metrics"]["auc"]
    before = f"{auc['before']:.3f} {auc['before_low']:.3f}–{auc['before_high']:.3f}"
    after = f"{auc['after']:.3f} {auc['after_low']:.3f}–{auc['after_high']:.3f}"
    change = f"{auc['delta']:+.3f} {auc['delta_low']:+.3f} to {auc['delta_high']:+.3f}"
    assert before in quiet_page.text
    assert after in quiet_page.text
    assert change in quiet_page.text


def test_a_pool_tells_what_these_domains_show_beside_what_others_may(quiet: Any, quiet_page: Page) -> None:
    assert "it speaks of exactly these domains" in quiet_page.text
    auc = next(auc for auc in (pooled_auc(quiet, pool) for pool in quiet.plan.pools) if auc["delta"])
    intervals = [
        (auc["delta_low"], auc["delta_high"]),
        *((auc[name]["low"], auc[name]["high"]) for name in ("hierarchical", "these_domains")),
    ]
    told = " ".join(f"{short(low)} to {short(high)}" for low, high in intervals)
    assert f"AUC {short(auc['delta'])} {told}" in quiet_page.text


def test_no_amplification_is_the_headline_when_there_is_none(quiet_page: Page) -> None:
    assert "No amplification was found" in quiet_page.text
    assert "The measurement can see a leak" in quiet_page.text


def test_controls_say_whether_they_did_what_they_should(quiet_page: Page, loud_page: Page) -> None:
    assert "No fine-tuning ✓ as it should be Before and after are the same, exactly." in quiet_page.text
    assert "Positive control ✓ as it should be" in quiet_page.text
    assert "Blind baseline ✓ as it should be" in quiet_page.text
    assert "Unrelated pictures ○ not there" in quiet_page.text
    assert "Blind baseline ! not as it should be" in loud_page.text


def test_warnings_of_the_metrics_reach_the_page(quiet: Any, quiet_page: Page) -> None:
    warnings = quiet.measured(quiet.plan.trials[0], "loss")["warnings"]
    assert warnings
    for warning in warnings:
        assert re.sub(r"\s+", " ", warning["message"]) in quiet_page.text


def test_planted_markup_is_text_everywhere(loud: Any, loud_page: Page) -> None:
    assert "script" not in {tag for tag, _ in loud_page.tags}
    assert "b" not in {tag for tag, found in loud_page.tags if "3 GB" in str(found)}
    assert not [name for _, found in loud_page.tags for name in found if name.startswith("on")]
    assert "<script>alert(1)</script>" in loud_page.text
    assert "no room for <b>3 GB</b>" in loud_page.text


def test_failed_trials_are_named_with_the_next_step(loud: Any, loud_page: Page) -> None:
    failing = next(trial for trial in loud.plan.trials if trial.axes["rank"] == 8)
    assert "What has no result" in loud_page.text
    assert failing.key[:12] in loud_page.text
    assert "3 trials of this grid have no result" in loud_page.text
    assert "12 done, 1 failed, 2 missing" in loud_page.text


def test_how_to_reproduce_holds_the_grid_the_commands_and_the_keys(quiet: Any, quiet_page: Page) -> None:
    assert "name: by-hand" in quiet_page.text
    assert "s2l run by-hand.yaml" in quiet_page.text
    assert quiet.plan.grid_key[:16] in quiet_page.text
    assert all(trial.key[:12] in quiet_page.text for trial in quiet.plan.trials)
    assert "made with S2L" in quiet_page.text


def test_ids_are_unique_and_what_refers_to_them_exists(quiet_page: Page) -> None:
    ids = [found["id"] for _, found in quiet_page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    referred = {(found.get("xlink:href") or found.get("href") or "#")[1:] for _, found in quiet_page.tags} - {""}
    assert referred <= set(ids)


def test_plots_take_the_page_s_colours_and_speak_to_readers_without_eyes(quiet_page: Page) -> None:
    styles = " ".join(found.get("style") or "" for _, found in quiet_page.tags)
    assert "var(--line-0)" in styles
    assert "#0072b2" not in styles
    labels = [found["aria-label"] for _, found in quiet_page.tags if found.get("role") == "img"]
    assert len(labels) == 9
    assert all(labels)


def test_the_same_ledger_gives_the_same_page(quiet: Any) -> None:
    assert report(quiet.plan, quiet.ledger) == report(quiet.plan, quiet.ledger)


def test_an_empty_grid_still_has_a_page(make_world: MakeWorld) -> None:
    world = make_world()
    page = Page(report(world.plan, world.ledger))
    assert "Nothing can be said yet" in page.text
    assert "0 of 10" in page.text


@pytest.mark.parametrize("private", [False, True])
def test_images_are_in_the_page_only_when_private_ones_are_asked_for(make_world: MakeWorld, private: bool) -> None:
    world = make_world(domains=("alba",))
    nodes = {
        node.kind: node for node in ancestors(leaf for trial in world.plan.trials for leaf in trial.leaves()) if node.kind in ("data", "sp")
    }
    world.commit_images(nodes["data"], members=True)
    world.commit_images(nodes["sp"], members=False)
    page = Page(report(world.plan, world.ledger, show_private=private))
    images = [found for tag, found in page.tags if tag == "img"]
    assert len(images) == (6 if private else 0)
    assert ("Private." in page.text) is private
    assert all((found["src"] or "").startswith("data:image/png;base64,") for found in images)


def test_results_computed_from_two_makes_are_pointed_at(make_world: MakeWorld) -> None:
    world = make_world(domains=("alba",)).finish()
    shake = next(trial.shake for trial in world.plan.trials if trial.shake)
    world.ledger.retire(world.ledger.manifest("shake", shake.key), "made again")
    world.commit(shake, "adapter.json", b"another make")
    assert "Two makes are mixed" in Page(report(world.plan, world.ledger)).text


def test_a_large_grid_is_cut_to_the_largest_changes_and_says_so(quiet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboards.sections.MAX_ROWS", 3)
    monkeypatch.setattr("dashboards.report.MAX_LISTED", 4)
    page = Page(report(quiet.plan, quiet.ledger))
    assert page.text.count("The 12 smallest changes of this attack are left out of the table") == 2
    assert "and 11 more" in page.text
    kept = [found["title"] for tag, found in page.tags if tag == "tr" and "title" in found and found.get("class") != "pooled"]
    control = {trial.key[:12] for trial in quiet.plan.trials if trial.axes["train_on"] == "members"}
    assert set(kept) == control


def test_attacks_that_point_the_wrong_way_are_warned_of_once(make_world: MakeWorld) -> None:
    world = make_world(domains=("alba", "bruno"), sp=-1.5, members=-1.5).finish()
    text = Page(report(world.plan, world.ledger)).text
    assert text.count("An AUC under 0.5: the attack ranks members below non-members.") == 1
    assert "▼ reduced" in text
    assert "The positive control did not move" in text


def test_pools_over_sp_sets_of_several_seeds_each_have_a_row(tmp_path: Path) -> None:
    world = world_in(tmp_path, ("alba", "bruno"), sp=0.0, members=1.2).finish()
    pools = [replace(pool, axes=pool.axes | {"sp_seed": seed}) for pool in world.plan.pools for seed in (0, 1)]
    plan = replace(world.plan, axes=world.plan.axes | {"sp_seed": [0, 1]}, pools=pools)
    groups = groups_of(plan, world.ledger, cells(plan, world.ledger))
    for group in (group for members in groups.values() for group in members if group.role != "no-shake"):
        assert [line.name for line in group.pooled] == ["all 2 domains, pooled, sp seed 0", "all 2 domains, pooled, sp seed 1"]


def test_a_sweep_has_a_section_with_plots_a_legend_and_the_same_numbers_as_a_table(ranks: Any) -> None:
    source = report(ranks.plan, ranks.ledger)
    page = Page(source)
    assert "How it depends on rank" in page.text
    assert "● alpha = rank" in page.text
    assert len(re.findall("The same as a table", page.text)) == 1
    pooled = next(pool for pool in ranks.plan.pools if (pool.attack, pool.axes["rank"], pool.axes["alpha"]) == ("loss", 4, 32.0))
    auc = pooled_auc(ranks, pooled)
    assert f"rank 4 {auc['before']:.3f} {auc['after']:.3f} {auc['delta']:+.3f} {auc['delta_low']:+.3f} to" in page.text
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))


def pooled_auc(world: Any, pooled: Any) -> dict[str, Any]:
    manifest = world.ledger.manifest("pooled", pooled.node.key)
    auc: dict[str, Any] = json.loads(world.ledger.read(manifest, "pooled.json"))["metrics"]["auc"]
    return auc


def test_transfer_is_a_matrix_and_never_a_method_s_row(transfer: Any) -> None:
    page = Page(report(transfer.plan, transfer.ledger))
    assert "Fine-tuned for one domain, attacked on another" in page.text
    cells = [found for tag, found in page.tags if tag == "td" and "--t:" in (found.get("style") or "")]
    assert len(cells) == 2 * 16
    assert sum("own" in (found.get("class") or "").split() for found in cells) == 2 * 4
    assert "dreambooth transfer: attacked on other domains" in page.text
    assert "alba, trained on bruno" in page.text


def test_controls_of_equal_noise_and_their_absence_are_on_the_page(many: Any, quiet_page: Page) -> None:
    assert "Noise of equal size ✓ as it should be" in Page(report(many.plan, many.ledger)).text
    assert "Noise of equal size ○ not there" in quiet_page.text


def test_domains_that_share_a_draw_of_noise_are_told(tmp_path: Path) -> None:
    ways = [{"method": "gaussian", "sigma": 0.1}, {"method": "gaussian", "sigma": "match"}, {"method": "dreambooth", "sigma": None}]
    world = world_of(tmp_path, [{"domain": domain, "seed": 0} | way for domain in ("alba", "bruno") for way in ways]).finish()
    text = Page(report(world.plan, world.ledger)).text
    told = text[text.index("one and the same draw of noise for each seed") :]
    assert told[told.index("More seeds are more draws.") :][:90].count("gaussian") == 2, "matched noise is as long as asked, on one draw"
    alone = world_of(tmp_path / "alone", [{"domain": "alba", "seed": 0} | way for way in ways]).finish()
    assert "draw of noise for each seed" not in Page(report(alone.plan, alone.ledger)).text


def test_pools_with_one_seed_are_named_by_way_and_only_where_a_seed_could_change_something(quiet: Any) -> None:
    told = warnings(quiet.plan, quiet.ledger, cells(quiet.plan, quiet.ledger), [])
    (where,) = [where for message, where in told if "have one seed" in message]
    assert "dreambooth, pooled (secmi)" in where
    assert "none" not in where
