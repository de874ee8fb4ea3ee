"""What the report says of extraction: one extraction of a model counts once, whatever else the model is attacked on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dashboards.extracted import given_back, table
from jobs.graph import Node
from jobs.keys import canonical_json
from jobs.plan import Trial
from jobs.stages.specs import ExtractStage
from s2l_core.specs.extraction import ExtractionSpec
from s2l_core.specs.fidelity import PixelFeatures
from tests.grid_by_hand import World, world_of


def document(members: int, non_members: int, p_value: float | None = None) -> dict[str, Any]:
    precision = {"members": members, "non_members": non_members, "value": 0.5, "p_value": p_value}
    sides = {"members": members + 1, "members_compared": members, "non_members": non_members}
    rule = {**{side: {"images": count} for side, count in sides.items()}, "precision": precision}
    retrieval = {"value": 0.5, "p_value": 1.0}
    return {"rules": {"l2": rule}, "compared": 8, "n_member": 9, "n_candidates": 20, "retrieval": retrieval}


def extracting(world: World, trial: Trial) -> Trial:
    """The trial with what its domain's model gives back, before and after; trials of one model share it."""
    assert trial.shake is not None
    base, data = (next(node for role, node in trial.shake.parents if role == "base"), world.graph)
    spec = ExtractStage(extraction=ExtractionSpec(features=PixelFeatures()))
    before: Node = data.add(spec, [("drawn", base)])
    after: Node = data.add(spec, [("drawn", trial.shake), ("before", before)])
    for node, found in ((before, document(1, 1)), (after, document(5, 1, 0.01))):
        if world.ledger.manifest(node.kind, node.key) is None:
            world.commit(node, "extraction.json", canonical_json(found).encode())
    return replace(trial, extraction=after)


def test_a_model_that_is_attacked_on_other_domains_too_gives_back_once(tmp_path: Path) -> None:
    points = [{"domain": one, "attack_domain": other, "method": "lora"} for one in ("alba", "bruno") for other in ("alba", "bruno")]
    world = world_of(tmp_path, points).finish()
    world.plan.trials[:] = [extracting(world, trial) for trial in world.plan.trials]
    (row,) = given_back(world.plan, world.ledger)
    assert (row.place.role, row.trials, row.sure) == ("method", 2, 2)
    assert (row.members, row.non_members, row.images, row.candidates) == ((2, 10), (2, 2), 16, 40)
    assert table(world.plan, world.ledger).asked == 4
