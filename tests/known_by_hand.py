"""Grids made by hand whose models were asked for their domains' names. For tests of what is told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dashboards import memorised
from jobs.keys import canonical_json
from jobs.plan.graph import Node
from jobs.plan.plan import Trial
from jobs.stages.specs import MemorisationStage
from tests.grid_by_hand import PLANTED, World, world_of

DOMAINS = ("alba", "bruno", "chiara", "dario", "elio", "fosca")
SCORES = {domain: 0.5 + 0.1 * place for place, domain in enumerate(DOMAINS)}


def document(score: float, *, ratio: float | None = None) -> dict[str, Any]:
    controls = [{"name": f"invented {place}", "score": 0.05 + 0.2 * place} for place in range(5)]
    mean = sum(one["score"] for one in controls) / 5
    rank = 1 + sum(one["score"] >= score for one in controls)
    found = {"name": "Name", "score": score, "controls": controls, "control_mean": mean, "rank": rank}
    return found | {"ratio": score / mean if ratio is None else ratio, "prompts": [{"text": "photo of Name", "score": score}], "spec": {}}


def asking(world: World, trial: Trial, score: float, rise: float = 0.25) -> Trial:
    """The trial with its domain's name asked, before and after; trials of one domain share what was found before."""
    domain = trial.axes["domain"]
    base = next(node for role, node in trial.metrics["loss"].parents[0][1].parents if role == "base")
    before: Node = world.graph.add(MemorisationStage(name=domain), [("base", base)])
    after: Node = before
    if trial.shake is not None:
        after = world.graph.add(MemorisationStage(name=domain), [("base", base), ("shake", trial.shake), ("before", before)])
    for node, found in ((before, document(score)), (after, document(score + rise))):
        if world.ledger.manifest(node.kind, node.key) is None:
            world.commit(node, memorised.FILE, canonical_json(found).encode())
    return replace(trial, memorisation=after)


@pytest.fixture(scope="session")
def names_asked(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Six domains and three with markup planted in their names, un-shaken and fine-tuned. Only to be looked at."""
    points = [{"domain": domain, "method": method} for domain in (*DOMAINS, *PLANTED) for method in ("none", "lora", "dreambooth")]
    world = world_of(tmp_path_factory.mktemp("names-asked"), points).finish()
    world.plan.trials[:] = [asking(world, trial, SCORES.get(trial.axes["domain"], 0.3)) for trial in world.plan.trials]
    return world
