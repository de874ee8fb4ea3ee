"""What a reviewer asks is on the page itself: every control, the design's power, persons, precision of what is given back, definitions."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from dashboards.given_back import given_back
from dashboards.power import power
from dashboards.precision import matcher_words
from dashboards.recognised import in_a_sentence
from dashboards.report import report
from dashboards.results import cells
from dashboards.show import text as shown
from s2l_core.metrics.compare import compare
from s2l_core.specs.metrics import MetricsSpec


def words(source: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", source)))


@pytest.fixture(scope="module")
def quiet_words(quiet: Any) -> str:
    return words(report(quiet.plan, quiet.ledger))


@pytest.fixture(scope="module")
def back_words(gives_back: Any) -> str:
    return words(report(gives_back.plan, gives_back.ledger))


def test_every_control_has_a_row_for_each_attack(quiet_words: str) -> None:
    table = quiet_words[quiet_words.index("Every control, by attack") : quiet_words.index("Each attack by itself; the cards above")]
    for control, attacks in (
        ("no fine-tuning none", 2),
        ("positive control dreambooth", 2),
        ("shuffled labels", 2),
        ("noise of equal size", 1),
    ):
        assert table.count(control) == attacks, control


def test_the_blind_baseline_is_told_for_every_domain_with_what_it_leans_on(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world()
    weights = [{"name": name, "weight": 0.1} for name in ("mean of blue", "file size", "light at 3,1", "share of white")]
    real = world.blind()
    monkeypatch.setattr(world, "blind", lambda: real | {"features": weights})
    page = words(report(world.finish().plan, world.ledger))
    for domain in world.domains:
        assert f"{domain} 0.510 0.420–0.600 0.800 no mean of blue, file size, light at 3,1" in page
    assert "share of white" not in page


def test_the_page_tells_what_the_design_can_see_as_the_plan_does(quiet: Any, quiet_words: str) -> None:
    found = power(quiet.plan, dict.fromkeys(quiet.domains, (60, 120)))
    one, mean = found["by_size"][0]["detectable_auc_change"], found["over_domains"]["detectable_auc_change"]
    assert "one 60 / 120 " + " ".join(f"{change:.3f}" for change in one.values()) in quiet_words
    assert "mean over all 3 " + " ".join(f"{change:.3f}" for change in mean.values()) in quiet_words


def test_rates_are_told_with_the_false_alarms_that_were_achieved(quiet: Any, quiet_words: str) -> None:
    rate = quiet.measured(quiet.plan.trials[0], "loss")["metrics"]["tpr_at_fpr_0.01"]
    assert 0 < rate["achieved_fpr_before"] <= 0.01
    assert f"{100 * rate['achieved_fpr_before']:.2g} % →" in quiet_words


def test_each_person_s_tests_have_their_p_values(quiet: Any, quiet_words: str) -> None:
    trial = next(trial for trial in quiet.plan.trials if trial.axes["train_on"] == "members")
    before, after = (compare(*quiet.scores(trial, "loss"), MetricsSpec(bootstrap=100))["identity"][when] for when in ("before", "after"))
    told = f"{before['permutation_p']:.3f} → {after['permutation_p']:.3f}"
    assert f"{trial.axes['domain']} dreambooth (on members) {told}" in quiet_words


def test_all_of_a_person_s_images_are_the_largest_set_and_not_the_last_by_letters(quiet: Any) -> None:
    found = [cell for cell in cells(quiet.plan, quiet.ledger) if cell.place.role == "method"]
    sizes = list(found[0].document["identity"]["before"]["recognised"])
    assert sizes[-1] == "8", "the ledger's JSON lies in the order of letters"
    share = sum(cell.document["identity"]["before"]["recognised"]["60"] for cell in found) / len(found)
    assert f"with all of them in {100 * share:.0f} % and" in in_a_sentence(found)


def test_what_is_given_back_is_told_with_precision_cliques_and_retrieval(gives_back: Any, back_words: str) -> None:
    row = next(row for row in given_back(gives_back.plan, gives_back.ledger) if (row.place.role, row.rule) == ("method", "l2"))
    assert (row.precision.before.flagged, row.precision.after.flagged, row.precision.after.right, row.precision.sure) == (6, 14, 10, 2)
    assert "0.333 2 of 6 → 0.714 10 of 14" in back_words
    assert "4 of 6 → 4 of 6 2 → 10 0.500 → 0.750 2 of 2 0.011 → 0.011 non-member 0.123 → 0.123" in back_words


def test_how_candidates_were_matched_is_said(gives_back: Any, back_words: str) -> None:
    (told,) = matcher_words(gives_back.plan)
    for setting in (
        "5,000 candidates",
        "10 members and 10 non-members",
        "below 0.15",
        "2 pixels, also mirrored",
        "4 x 4 tiles",
        "10 nearest",
    ):
        assert setting in told
    assert told in back_words


def test_every_number_s_definition_and_interval_are_on_the_page(quiet_words: str) -> None:
    start = quiet_words.index("How each number and its interval are made")
    for method in ("DeLong", "MOVER", "Bayesian bootstrap", "balanced accuracy, ASR", "Wilcoxon", "Holm", "Student's t"):
        assert method in quiet_words[start:], method


def test_three_intervals_of_a_pool_say_which_one_the_verdict_goes_by(quiet_words: str) -> None:
    assert (
        "domains not seen whole domains; the verdict's domains not seen domains, images, seeds these domains images, seeds" in quiet_words
    )


def test_show_tells_how_many_network_calls_a_pass_took() -> None:
    made = {"at": "now", "host": "node", "device": "cpu", "seconds": 1.0, "network_calls": 14, "attacks_together": 3}
    stage = {"kind": "score", "key": "k" * 64, "committed": True, "digest": "d" * 64, "size": 1, "made": made}
    document = {
        "grid": "by-hand",
        "trial_key": "t",
        "state": "done",
        "axes": {},
        "stages": [stage],
        "metrics": {},
        "chosen": {},
        "defence": None,
        "failures": [],
    }
    assert "14 network calls an image for 3 attacks together" in shown(document)
