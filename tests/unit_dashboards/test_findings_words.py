"""What the first screen of a report says: honest in each of the cases that can occur."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboards.comparisons import Blind, Comparison, surviving
from dashboards.controls import Shuffled, control_cards
from dashboards.findings import Findings, findings
from dashboards.report import report
from dashboards.words import short


def auc(delta: float, half: float = 0.05, p_value: float = 1e-6, *, before: float = 0.6, verdict: str = "") -> dict[str, Any]:
    found = verdict or ("amplified" if delta > half else "reduced" if delta < -half else "none")
    return {
        "before": before,
        "after": before + delta,
        "delta": delta,
        "delta_low": delta - half,
        "delta_high": delta + half,
        "p_value": p_value,
        "verdict": found,
    }


def method(**measured: Any) -> Comparison:
    return Comparison("method", "lora", "alba", "loss", auc(**measured))


def control(**measured: Any) -> Comparison:
    return Comparison("members", "dreambooth", "bruno", "secmi", auc(**measured))


def blind(domain: str, area: float, half: float, images: int = 40) -> Blind:
    interval = {"auc_low": area - half, "auc_high": min(1.0, area + half)}
    return Blind(domain, {"auc": area, "separates": area - half > 0.5, "n_member": images, "n_non_member": images, **interval})


BLIND = blind("alba", 0.52, 0.1)
LEAKS = blind("chiara", 0.93, 0.06)
BY_CHANCE = blind("bruno", 0.62, 0.11)


def all_words(said: Findings) -> str:
    return " ".join([said.headline, *said.paragraphs, *said.steps])


def test_amplification_that_survives_correction_is_said_with_its_size_and_what_to_do() -> None:
    said = findings([method(delta=0.12), method(delta=0.0, p_value=0.9)], [BLIND])
    assert (said.tone, said.headline) == ("amplified", "Fine-tuning made members easier to find")
    assert "In 1 of 2 comparisons" in said.paragraphs[0]
    assert "lora, alba, loss attack: AUC 0.60 to 0.72, +0.120 (+0.070 to +0.170)" in all_words(said)
    assert any("weights made with lora" in step for step in said.steps)


def test_amplification_that_chance_explains_is_not_called_a_finding() -> None:
    said = findings([method(delta=0.06, p_value=0.02), *[method(delta=0.0, p_value=0.9)] * 9], [BLIND])
    assert said.tone == "unsure"
    assert "no more than chance can explain" in said.headline
    assert "none of them stands after correction" in said.paragraphs[0]


def test_fewer_amplified_comparisons_than_chance_gives_are_no_sign() -> None:
    few = [*[method(delta=0.06, p_value=0.02)] * 2, *[method(delta=0.0, p_value=0.9)] * 98, control(delta=0.2)]
    said = findings(few, [BLIND])
    assert (said.tone, said.headline) == ("none", "No amplification was found")
    assert "In 2 of 100 comparisons an attack became better by more than its 95 % interval; by chance alone about 2 would" in all_words(
        said
    )
    assert findings(few, [BLIND], pooled_up=1).tone == "unsure", "a pool over domains sees what single domains do not"
    assert findings([*[method(delta=0.06, p_value=0.02)] * 2, *few], [BLIND]).tone == "unsure"


def test_no_amplification_is_said_so_with_what_the_data_still_allow() -> None:
    said = findings([method(delta=0.01, p_value=0.7), control(delta=0.2)], [BLIND])
    assert (said.tone, said.headline) == ("none", "No amplification was found")
    assert "In none of 1 comparison did an attack that can be judged become better" in said.paragraphs[0]
    assert "still allows a rise of up to +0.060" in all_words(said)
    assert "no proof of safety" in all_words(said)


def test_weaker_attacks_are_no_protection() -> None:
    said = findings([method(delta=-0.1), control(delta=0.2)], [])
    assert said.headline == "No amplification was found"
    assert "In 1 an attack became worse; that is no protection" in said.paragraphs[0]


def test_a_positive_control_that_moves_shows_that_the_measurement_sees() -> None:
    said = findings([method(delta=0.0, p_value=0.9), control(delta=0.2)], [])
    assert "The measurement can see a leak" in said.paragraphs[1]
    assert "from 0.60 to 0.80 (secmi attack, bruno)" in said.paragraphs[1]


def test_a_zero_with_a_positive_control_that_does_not_move_is_no_finding() -> None:
    said = findings([method(delta=0.0, p_value=0.9), control(delta=0.01, p_value=0.8)], [])
    assert said.headline == "No amplification was seen, but this test could not show that it would have seen one"
    assert "The positive control did not move" in said.paragraphs[1]
    assert any("Do not rely on a zero here" in step for step in said.steps)


def test_a_missing_positive_control_is_asked_for() -> None:
    assert any("Add the positive control" in step for step in findings([method(delta=0.0)], []).steps)


@pytest.mark.parametrize("delta", [0.12, 0.0])
def test_a_split_that_leaks_by_itself_comes_before_what_attacks_on_it_found(delta: float) -> None:
    measured = [method(delta=delta, p_value=1e-6 if delta else 0.9), control(delta=0.2)]
    plain, said = findings(measured, [BLIND]), findings(measured, [BLIND, LEAKS])
    assert said.headline == "The split leaks by itself: members can be told from non-members without the model in 1 of 2 domains"
    assert said.tone == "unsure"
    assert said.paragraphs[0].startswith("Beware of chiara: a blind classifier that never sees the model tells members from non-members")
    assert "(AUC up to 0.93)" in said.paragraphs[0]
    assert said.paragraphs[1].lower() == f"apart from that: {plain.headline.lower()}."
    assert said.paragraphs[2] == plain.paragraphs[0], "what was found is told all the same"
    assert "s2l data check FOLDER" in said.steps[0]
    assert all_words(said).count("Beware of") == 1
    assert "cannot tell members" not in all_words(said)


def test_the_one_domain_that_leaks_is_named_in_the_headline() -> None:
    assert findings([method(delta=0.12)], [LEAKS]).headline.endswith("without the model in chiara")


def test_a_split_that_leaks_is_said_before_anything_was_attacked() -> None:
    said = findings([], [LEAKS])
    assert (said.tone, said.headline.split(":")[0]) == ("unknown", "The split leaks by itself")
    assert "Apart from that: nothing can be said yet." in said.paragraphs


def test_a_domain_that_chance_separates_among_many_is_named_and_does_not_open_the_report() -> None:
    matched = [blind(f"d{number}", 0.5, 0.1) for number in range(11)]
    said = findings([method(delta=0.12), control(delta=0.2)], [*matched, BY_CHANCE])
    assert said.headline == "Fine-tuning made members easier to find"
    assert "Beware of bruno: a blind classifier" in said.paragraphs[1]
    assert any("s2l data check FOLDER" in step for step in said.steps)
    assert "leaks by itself" in findings([method(delta=0.12)], [BY_CHANCE]).headline, "alone it is no choice among many"
    assert "in 1 of 12 domains" in findings([method(delta=0.12)], [*matched, LEAKS]).headline, "what stands after correction opens it"
    assert "in 6 of 17 domains" in findings([method(delta=0.12)], [*matched, *[BY_CHANCE] * 6]).headline, "so many are no chance"


@pytest.mark.parametrize(("images", "opens"), [(40, True), (7, True), (6, False)])
def test_a_perfect_separation_counts_for_as_much_as_there_are_images(images: int, opens: bool) -> None:
    perfect = Blind("alba", {"auc": 1.0, "auc_low": 0.51, "auc_high": 1.0, "separates": True, "n_member": images, "n_non_member": images})
    assert ("leaks by itself" in findings([method(delta=0.12)], [perfect, BLIND, BLIND]).headline) is opens


def test_a_blind_classifier_that_sees_nothing_is_said_too() -> None:
    assert "cannot tell members from non-members" in all_words(findings([method(delta=0.12)], [BLIND]))


def test_inverted_attacks_are_pointed_at() -> None:
    assert any("wrong way" in step for step in findings([method(delta=0.0, verdict="inverted")], []).steps)


def test_moves_of_inverted_attacks_are_told_and_not_called_no_rise() -> None:
    lower = findings([method(delta=0.1, before=0.3, verdict="inverted"), method(delta=-0.1, before=0.4, verdict="inverted")], [])
    assert lower.tone == "none"
    assert "pointed the wrong way beforehand (AUC under 0.5) and moved beyond their interval, 1 up and 1 down" in lower.paragraphs[0]
    crossed = findings([method(delta=0.3, before=0.49, verdict="inverted"), control(delta=0.2)], [])
    assert crossed.tone == "unsure"
    assert "No amplification" not in crossed.headline
    assert "now finds members" in crossed.headline
    assert "pointed the wrong way" not in findings([method(delta=0.12)], []).paragraphs[0]


def test_a_positive_control_that_moves_by_chance_only_did_not_move() -> None:
    chance = [control(delta=0.06, p_value=0.03), *[control(delta=0.0, p_value=0.9)] * 8]
    said = findings([method(delta=0.0, p_value=0.9), *chance], [])
    assert "could not show that it would have seen one" in said.headline
    assert "The positive control did not move" in said.paragraphs[1]
    card = control_cards(chance, [])[1]
    assert (card.state, "no more than chance can explain" in card.words) == ("bad", True)
    assert control_cards([*chance, control(delta=0.2)], [])[1].state == "good"


def test_the_sizes_that_are_told_are_those_of_what_stands() -> None:
    wide = {"half": 0.4, "p_value": 0.2}
    said = findings([method(delta=0.12), method(delta=0.3, **wide), control(delta=0.1), control(delta=0.35, **wide)], [])
    assert "The largest of these changes: lora, alba, loss attack: AUC 0.60 to 0.72" in all_words(said)
    assert "at most from 0.60 to 0.70" in said.paragraphs[1]


def test_a_headline_says_when_most_comparisons_do_not_bear_it_out() -> None:
    said = findings([method(delta=0.12), *[method(delta=0.0, p_value=0.9)] * 3], [])
    assert said.headline == "Fine-tuning made members easier to find, in some comparisons"


def test_the_blind_card_tells_of_a_domain_that_it_separates() -> None:
    def told(domain: str, area: float, separates: bool) -> Blind:
        return Blind(domain, {"auc": area, "auc_low": area - 0.1, "auc_high": area + 0.1, "separates": separates})

    below, leaks, chance = told("alba", 0.1, False), told("bruno", 0.7, True), told("chiara", 0.55, False)
    assert "AUC 0.70 (0.60 to 0.80) at most, for bruno" in control_cards([], [below, leaks, chance])[3].words
    assert "AUC 0.55 (0.45 to 0.65) at most, for chiara" in control_cards([], [below, chance])[3].words


def test_unfinished_trials_are_counted() -> None:
    said = findings([method(delta=0.12)], [], unfinished=2)
    assert "2 trials of this grid have no result" in all_words(said)
    assert any("Finish the grid" in step for step in said.steps)


def test_without_a_method_nothing_is_claimed() -> None:
    said = findings([control(delta=0.2)], [BLIND])
    assert (said.tone, said.headline) == ("unknown", "Nothing can be said yet")


@pytest.mark.parametrize(("p_values", "count"), [([0.04], 1), ([0.04, 0.04], 0), ([0.01, 0.04], 2), ([0.03, 0.001, 0.5], 1), ([0.06], 0)])
def test_holm_keeps_what_stands_after_counting_all_comparisons(p_values: list[float], count: int) -> None:
    assert len(surviving([method(delta=0.1, p_value=p_value) for p_value in p_values])) == count


@pytest.mark.parametrize(("value", "text"), [(0.1234, "+0.123"), (-0.0512, "−0.051"), (-0.0001, "−0.000"), (0.0, "0.000")])
def test_differences_read_well(value: float, text: str) -> None:
    assert short(value) == text


def noise(**measured: Any) -> Comparison:
    return Comparison("method", "gaussian, sigma 0.1", "alba", "loss", auc(**measured), change="noise")


def test_noise_is_not_called_fine_tuning() -> None:
    alone = findings([noise(delta=0.12)], [])
    assert alone.headline == "Noise on the weights made members easier to find"
    assert "Noise was added to the weights of a model in 1 way, and nothing was trained; 1 domain" in alone.paragraphs[0]
    both = findings([noise(delta=0.0, p_value=0.9), method(delta=0.12)], [])
    assert both.headline == "Fine-tuning made members easier to find"
    assert "fine-tuned in 1 way" in both.paragraphs[0]
    assert "In 1 more way only noise was added" in both.paragraphs[0]


def test_what_the_pools_say_is_told() -> None:
    assert "Over all domains so and so." in findings([method(delta=0.12)], [], pooled="Over all domains so and so.").paragraphs


def test_names_that_hold_commas_are_parted_so_that_they_can_be_told_apart() -> None:
    found = [Comparison("method", f"lora, rank {rank}", "alba", "loss", auc(delta=0.12)) for rank in (1, 2, 4)]
    assert any("made with lora, rank 1; lora, rank 2; and lora, rank 4 as" in step for step in findings(found, []).steps)


def quiet_control(role: Any, amplified: int, count: int) -> list[Comparison]:
    rises = [{"delta": 0.06, "p_value": 0.03}] * amplified + [{"delta": 0.0, "p_value": 0.9}] * (count - amplified)
    return [Comparison(role, "gaussian", "alba", "loss", auc(**each)) for each in rises]


@pytest.mark.parametrize(("role", "place"), [("unrelated", 2), ("matched-noise", 4)])
@pytest.mark.parametrize(("amplified", "count", "state"), [(0, 9, "good"), (1, 9, "good"), (2, 9, "bad"), (5, 72, "good"), (6, 72, "bad")])
def test_a_quiet_control_may_rise_as_often_as_chance_lets_it(role: Any, place: int, amplified: int, count: int, state: str) -> None:
    assert control_cards(quiet_control(role, amplified, count), [])[place].state == state


def test_a_quiet_control_that_rises_over_all_domains_together_is_not_quiet() -> None:
    card = control_cards(quiet_control("unrelated", 0, 9), [], {"unrelated": ["secmi +0.010"]})[2]
    assert card.state == "bad"
    assert "Over all domains together: secmi +0.010" in card.words


def test_noise_of_equal_size_is_asked_for_where_it_is_missing() -> None:
    assert "`sigma: match`" in control_cards([], [])[4].words


def test_shuffled_labels_are_a_control_that_fails_when_they_leave_their_range_too_often() -> None:
    inside, outside = Shuffled(0.51, 0.42, 0.58), Shuffled(0.6, 0.42, 0.58)
    assert control_cards([], [])[5].state == "absent"
    quiet = control_cards([], [], shuffles=[*[inside] * 18, outside, outside])[5]
    assert (quiet.title, quiet.state) == ("Shuffled labels", "good")
    assert "0.519 on average, beyond its 95 % range in 2 of 20" in quiet.words
    loud = control_cards([], [], shuffles=[*[inside] * 14, *[outside] * 6])[5]
    assert loud.state == "bad"
    assert "The tests themselves see what is not there" in loud.words


def test_the_page_tells_what_became_of_thresholds_on_other_images_and_of_shuffled_labels(quiet: Any) -> None:
    page = re.sub(r"<[^>]+>|\s+", " ", report(quiet.plan, quiet.ledger))
    assert "With members and others named at random the AUC is 0." in page
    assert re.search(r"Set to 1 % false alarms on one half of the images, a threshold gave \S+ % on the other half before", page)
    assert "right calls, members and others equally weighed" in page
