"""Domain transfer as a matrix: who was trained on, who was attacked, and what is a method's own."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboards.comparisons import comparisons
from dashboards.findings import findings
from dashboards.groups import groups_of
from dashboards.results import cells
from dashboards.tint import STRONGEST, strength
from dashboards.transfer import Matrix, matrices


@pytest.fixture(scope="module")
def found(transfer: Any) -> list[Matrix]:
    return matrices(transfer.plan, groups_of(transfer.plan, transfer.ledger, cells(transfer.plan, transfer.ledger)))


def test_there_is_a_matrix_for_each_way_with_its_own_domains_on_the_diagonal(found: list[Matrix]) -> None:
    assert [matrix.title for matrix in found] == ["dreambooth", "dreambooth, train_on = members"]
    for matrix in found:
        assert [name for name, _ in matrix.rows] == matrix.attacked == ["alba", "bruno", "chiara", "dora"]
        for row, (_, line) in enumerate(matrix.rows):
            assert [cell.own for cell in line if cell] == [row == column for column in range(4)]


def test_a_cell_holds_what_was_measured_on_its_pair(transfer: Any, found: list[Matrix]) -> None:
    axes = {"domain": "bruno", "attack_domain": "dora", "train_on": "sp", "method": "dreambooth"}
    trial = next(trial for trial in transfer.plan.trials if axes.items() <= trial.axes.items())
    auc = transfer.measured(trial, "loss")["metrics"]["auc"]
    cell = found[0].rows[1][1][3]
    assert cell is not None
    assert (cell.delta, cell.verdict) == (auc["delta"], auc["verdict"])
    assert cell.words.startswith("fine-tuned for bruno, attacked on dora: ")


def test_own_domains_are_told_apart_from_others_in_words(found: list[Matrix]) -> None:
    assert re.match(r"Mean change on the own domain: \+0\.1\d+ over 4 pairs, amplified in 4\. ", found[0].words)
    assert re.search(r"other domains: [+−]?0\.0\d+ over 12 pairs, amplified in [01]\.", found[0].words)


def test_transfer_is_not_counted_as_a_method_s_own_leakage(transfer: Any) -> None:
    compared = comparisons(transfer.plan, cells(transfer.plan, transfer.ledger))
    said = findings(compared, [])
    assert said.paragraphs[0].startswith("A model was fine-tuned in 1 way on pictures that it had drawn itself of 4 domains.")
    assert "In 4 of 4 comparisons an attack became better" in said.paragraphs[0]
    assert any("not fine-tuned for" in paragraph and "24 comparisons" in paragraph for paragraph in said.paragraphs)


def test_a_grid_of_transfer_alone_claims_nothing_about_a_domain_of_its_own(transfer: Any) -> None:
    compared = [each for each in comparisons(transfer.plan, cells(transfer.plan, transfer.ledger)) if each.role == "transfer"]
    said = findings(compared, [])
    assert (said.tone, said.headline) == ("unknown", "Nothing can be said of a model's own domain")


def test_only_so_many_domains_are_shown_and_the_rest_is_told(transfer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboards.transfer.MAX_SIDE", 3)
    first = matrices(transfer.plan, groups_of(transfer.plan, transfer.ledger, cells(transfer.plan, transfer.ledger)))[0]
    assert (len(first.rows), len(first.attacked)) == (3, 3)
    assert "over 12 pairs" in first.words
    assert "Only the first 3 domains are shown" in first.words


def test_colours_grow_with_the_change_and_noise_stays_faint() -> None:
    assert [strength(value, 0.1) for value in (0.0, 0.05, -0.05, 0.1, 0.7)] == [0, 22, 22, STRONGEST, STRONGEST]
    assert strength(0.002, 0.002) < 10
