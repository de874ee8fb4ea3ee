"""A grid whose attacks are chosen on calibration domains, planned as a grid file is, with stated numbers in its choices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.plan.graph import Node, ancestors
from jobs.stages.specs import ChoiceStage
from tests.grid_by_hand import World, world_of
from tests.stated_inputs import domain_of, plan_of

SECMI = "{kind: choose, of: secmi, t: [20, 60, 140], on: [cy, bo]}"
LOSS = "{kind: choose, of: loss, timesteps: [[20], [50, 100, 150, 200, 250, 300, 350, 400, 450, 500]], on: [bo]}"
MIXED = "{kind: choose, among: [pian, {kind: loss, timesteps: [20], draws: 1}], on: [bo], name: best}"
ATTACKS = f"{SECMI}, {LOSS}, {MIXED}, s2l-paper, pfami, {{kind: secmi, t: 60}}"


def world_with(folder: Path, attacks: str = ATTACKS, *, fixed: str = "", axes: str = "domain: [ada, di], method: [none, lora]") -> World:
    """Nothing is committed yet."""
    world = world_of(folder, [{"domain": "ada", "method": "none"}])
    world.plan = plan_of(f"fixed: {{attacks: [{attacks}]{fixed}}}\naxes: {{{axes}}}")
    return world


def choose(world: World) -> World:
    """Commit all choices: each candidate is a twentieth better than the one before it."""
    for node in ancestors(world.plan.leaves()):
        if isinstance(node.spec, ChoiceStage):
            world.commit(node, "choice.json", json.dumps(_document(node, node.spec)).encode())
    return world


def _document(node: Node, spec: ChoiceStage) -> dict[str, Any]:
    count = len(node.parents) // len(spec.candidates)
    domains = [domain_of(score) for _, score in node.parents[:count]]
    found = [
        {
            "attack": attack.model_dump(mode="json"),
            "calls": attack.calls,
            "mean_auc": 0.6 + 0.05 * number,
            "auc": [0.6 + 0.05 * number] * count,
            "n_member": [7] * count,
            "n_non_member": [9] * count,
        }
        for number, attack in enumerate(spec.candidates)
    ]
    return {"attack": found[-1]["attack"], "chosen": len(found) - 1, "domains": domains, "candidates": found}


@pytest.fixture(scope="session")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A finished grid of chosen and of fixed attacks. Only to be looked at."""
    return choose(world_with(tmp_path_factory.mktemp("chosen"))).finish()
