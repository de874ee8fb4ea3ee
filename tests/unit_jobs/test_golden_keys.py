"""The keys of the shipped grids, held still: a change of keys is a visible decision.

    python tests/unit_jobs/test_golden_keys.py --update

writes the file anew. Part `stated` uses a made-up content for the packaged model, so that it changes with the scheme of keys alone;
part `packaged` uses what is packaged, and changes with the packaged weights too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.expand import expand
from jobs.grid.inputs import LocalInputs, ModelData
from jobs.grid.load import shipped
from jobs.grid.read import read_grid
from jobs.keys import canonical_json, sha256_text
from jobs.plan import Plan
from jobs.stages.specs import BaseStage, PackagedModel

GOLDEN = Path(__file__).with_name("golden_keys.json")
REMEDY = "if the change is meant: run python tests/unit_jobs/test_golden_keys.py --update and say so in CHANGELOG.md"


class StatedModel(LocalInputs):
    """The real data sets, and a model of a made-up content."""

    def model(self, model: str) -> ModelData:
        return ModelData(BaseStage(source=PackagedModel(name=model, content="0" * 64)))


PARTS = {"stated": StatedModel, "packaged": LocalInputs}


def keys_of(plan: Plan) -> dict[str, Any]:
    """The grid's key, each trial's, and one hash per kind of stage over its sorted keys."""
    kinds: dict[str, list[str]] = {}
    for node in plan.nodes():
        kinds.setdefault(node.kind, []).append(node.key)
    trials = {", ".join(f"{name}={value}" for name, value in trial.axes.items()): trial.key for trial in plan.trials}
    stages = {kind: f"{len(keys)} {sha256_text(canonical_json(sorted(keys)))}" for kind, keys in kinds.items()}
    return {"grid_key": plan.grid_key, "trials": trials, "stages": stages}


def current(part: str) -> dict[str, Any]:
    return {name: keys_of(expand(read_grid(name), inputs=PARTS[part]())) for name in shipped()}


@pytest.mark.parametrize("part", PARTS)
def test_keys_of_shipped_grids_are_golden(part: str) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert current(part) == golden[part], REMEDY


def test_the_two_parts_differ_in_the_model_alone() -> None:
    stated, packaged = (current(part) for part in PARTS)
    same = {
        name: {kind for kind, keys in grid["stages"].items() if packaged[name]["stages"][kind] == keys} for name, grid in stated.items()
    }
    assert all(kinds == {"data", "blind"} for kinds in same.values())


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit("python tests/unit_jobs/test_golden_keys.py --update")
    GOLDEN.write_text(json.dumps({part: current(part) for part in PARTS}, indent=1, sort_keys=True) + "\n")
    print(f"wrote {GOLDEN.name}")
