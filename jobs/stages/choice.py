"""Which of several attacks is used: decided on calibration domains, before an image that is reported is attacked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from jobs.stages.contract import StageJob
from jobs.stages.specs import ChoiceStage
from s2l_core.metrics.roc import auc
from s2l_core.scores import Scores, read_scores
from s2l_core.specs.attacks import AnyAttack, attack_of


def run(job: StageJob) -> None:
    """Leaves choice.json."""
    scores = [read_scores(folder / "scores.parquet") for folder in job.folders("score")]
    document = choose(cast(ChoiceStage, job.spec).candidates, scores)
    (job.out / "choice.json").write_text(json.dumps(document, sort_keys=True, allow_nan=False), encoding="utf-8")


def choose(candidates: Sequence[AnyAttack], scores: Sequence[Scores]) -> dict[str, Any]:
    """The candidate with the largest mean AUC over domains; of equal ones the first listed.

    Args:
        scores: of each candidate on each domain: all of the first candidate's first, the domains always in the same order.

    Returns:
        `{"attack": the chosen spec, "chosen": its number, "domains": [...], "candidates": [{"attack", "calls", "mean_auc", "auc": [per
        domain], "n_member": [...], "n_non_member": [...]}]}`
    """
    count = len(scores) // len(candidates)
    rows = [scores[start : start + count] for start in range(0, len(scores), count)]
    domains = [one.domain for one in rows[0]]
    assert all([one.domain for one in row] == domains for row in rows)
    assert all(attack_of(one.attack) == attack for attack, row in zip(candidates, rows, strict=True) for one in row)
    found = [_candidate(attack, row) for attack, row in zip(candidates, rows, strict=True)]
    best = max(range(len(found)), key=lambda number: (found[number]["mean_auc"], -number))
    return {"attack": found[best]["attack"], "chosen": best, "domains": domains, "candidates": found}


def chosen_attack(folder: Path) -> AnyAttack:
    """The attack that a committed choice came to."""
    document = json.loads((folder / "choice.json").read_text(encoding="utf-8"))
    return attack_of(document["attack"])


def _candidate(attack: AnyAttack, row: Sequence[Scores]) -> dict[str, Any]:
    areas = [auc(one.members, one.non_members) for one in row]
    return {
        "attack": attack.model_dump(mode="json"),
        "calls": attack.calls,
        "mean_auc": sum(areas) / len(areas),
        "auc": areas,
        "n_member": [len(one.members) for one in row],
        "n_non_member": [len(one.non_members) for one in row],
    }
