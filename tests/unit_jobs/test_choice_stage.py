"""The choice stage on constructed scores: the best on average wins, the first of equals, and every number stays on record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jobs.stages import choice
from jobs.stages.specs import ChoiceStage
from s2l_core.metrics.roc import auc
from s2l_core.scores import Scores, write_scores
from s2l_core.specs.attacks import AnyAttack, LossAttack, PIAAttack, SecMIAttack
from tests.unit_jobs.test_score_stage import Place

EARLY, LATE, OTHER = SecMIAttack(t=60), SecMIAttack(t=140), PIAAttack()


def scores(attack: AnyAttack, domain: str, area: float, members: int = 10, non_members: int = 10) -> Scores:
    """Scores whose AUC is `area`, a multiple of 1 / members: so many members lie above all others, the rest below."""
    above = round(area * members)
    score = np.array([2.0] * above + [0.0] * (members - above) + [1.0] * non_members)
    member = np.arange(members + non_members) < members
    ids = tuple(f"{number}" for number in range(len(score)))
    return Scores(attack.model_dump(mode="json"), domain, ids, member, score)


def chosen(*rows: tuple[AnyAttack, tuple[float, ...]]) -> dict[str, object]:
    given = [scores(attack, f"domain-{number}", area) for attack, areas in rows for number, area in enumerate(areas)]
    return choice.choose([attack for attack, _ in rows], given)


def test_the_candidate_with_the_largest_mean_auc_is_chosen() -> None:
    assert chosen((EARLY, (0.9, 0.1)), (LATE, (0.6, 0.7)), (OTHER, (0.5, 0.6)))["attack"] == LATE.model_dump(mode="json")
    assert chosen((EARLY, (0.9, 0.5)), (LATE, (0.6, 0.7)), (OTHER, (0.5, 0.6)))["attack"] == EARLY.model_dump(mode="json")


def test_of_equal_candidates_the_first_listed_is_chosen() -> None:
    assert chosen((OTHER, (0.5,)), (LATE, (0.7,)), (EARLY, (0.7,)))["chosen"] == 1
    assert chosen((OTHER, (0.5,)), (EARLY, (0.7,)), (LATE, (0.7,)))["chosen"] == 1


def test_an_attack_that_points_the_wrong_way_is_not_turned_round() -> None:
    assert chosen((EARLY, (0.0, 0.0)), (LATE, (0.5, 0.6)))["chosen"] == 1


def test_domains_weigh_the_same_however_many_images_they_have() -> None:
    given = [
        scores(EARLY, "small", 1.0, members=2),
        scores(EARLY, "large", 0.4, members=100),
        scores(LATE, "small", 0.5, members=2),
        scores(LATE, "large", 0.6, members=100),
    ]
    document = choice.choose([EARLY, LATE], given)
    assert document["chosen"] == 0
    assert document["candidates"][0]["mean_auc"] == pytest.approx(0.7)


def test_scores_of_another_attack_than_the_candidate_are_refused() -> None:
    with pytest.raises(AssertionError):
        choice.choose([EARLY, LATE], [scores(LATE, "a", 0.5), scores(EARLY, "a", 0.5)])


def test_the_stage_leaves_the_choice_with_every_number_it_was_made_by(tmp_path: Path) -> None:
    place, parents = Place(tmp_path), []
    spec = ChoiceStage(candidates=(LossAttack(timesteps=(20, 50)), OTHER))
    for number, (attack, domain, area) in enumerate(
        [(spec.candidates[0], "ann", 0.5), (spec.candidates[0], "bob", 0.7), (OTHER, "ann", 0.9), (OTHER, "bob", 0.2)]
    ):
        folder = tmp_path / f"score-{number}"
        folder.mkdir()
        write_scores(folder / "scores.parquet", scores(attack, domain, area, non_members=20 + number))
        parents.append(("score", folder))
    job = place.job(spec, parents, "it")
    choice.run(job)
    document = json.loads((job.out / "choice.json").read_text())
    assert [path.name for path in job.out.iterdir()] == ["choice.json"]
    assert document == {
        "attack": spec.candidates[0].model_dump(mode="json"),
        "chosen": 0,
        "domains": ["ann", "bob"],
        "candidates": [
            {
                "attack": spec.candidates[0].model_dump(mode="json"),
                "calls": 4,
                "auc": [0.5, 0.7],
                "mean_auc": pytest.approx(0.6),
                "n_member": [10, 10],
                "n_non_member": [20, 21],
            },
            {
                "attack": OTHER.model_dump(mode="json"),
                "calls": 2,
                "auc": [0.9, 0.2],
                "mean_auc": pytest.approx(0.55),
                "n_member": [10, 10],
                "n_non_member": [22, 23],
            },
        ],
    }
    assert choice.chosen_attack(job.out) == spec.candidates[0]


def test_the_constructed_scores_have_the_areas_they_say() -> None:
    found = scores(EARLY, "a", 0.7)
    assert auc(found.members, found.non_members) == pytest.approx(0.7)
