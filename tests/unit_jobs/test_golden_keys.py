"""The keys of the shipped grids, held still: a change of keys is a visible decision.

    python tests/unit_jobs/test_golden_keys.py --update

writes the file anew. Part `stated` uses a made-up content for the packaged model, so that it changes with the scheme of keys alone;
part `packaged` uses what is packaged, and changes with the packaged weights too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.grid.inputs import LocalInputs, ModelData
from jobs.grid.load import shipped_profiles
from jobs.grid.model import Grid
from jobs.grid.placeholders import is_placeholder
from jobs.grid.read import read_grid
from jobs.keys import canonical_json, sha256_text
from jobs.plan.expand import expand
from jobs.plan.plan import Plan
from jobs.stages.specs import BaseStage, PackagedModel
from s2l_core import tiny

GOLDEN = Path(__file__).with_name("golden_keys.json")
REMEDY = "if the change is meant: run python tests/unit_jobs/test_golden_keys.py --update and say so in CHANGELOG.md"


class StatedModel(LocalInputs):
    """The real data sets, and models of a made-up content; what is to be given stays so."""

    def model(self, model: str) -> ModelData:
        if is_placeholder(model):
            return super().model(model)
        return ModelData(BaseStage(source=PackagedModel(name=model, content="0" * 64)))


PARTS = {"stated": StatedModel, "packaged": LocalInputs}


MANY = 50
"""A grid of more trials than this is held by one hash over them all."""


def keys_of(plan: Plan) -> dict[str, Any]:
    """The grid's key, each trial's, and one hash per kind of stage over its sorted keys."""
    kinds: dict[str, list[str]] = {}
    for node in plan.nodes():
        kinds.setdefault(node.kind, []).append(node.key)
    trials = {", ".join(f"{name}={value}" for name, value in trial.axes.items()): trial.key for trial in plan.trials}
    stages = {kind: f"{len(keys)} {sha256_text(canonical_json(sorted(keys)))}" for kind, keys in kinds.items()}
    held = trials if len(trials) <= MANY else f"{len(trials)} {sha256_text(canonical_json(trials))}"
    return {"grid_key": plan.grid_key, "trials": held, "stages": stages}


def plans() -> Iterator[tuple[str, str, str | None]]:
    """Every shipped grid under every profile: what the file calls it, its name, its profile."""
    for name, profiles in shipped_profiles().items():
        for profile in profiles or [None]:
            yield f"{name} --profile {profile}" if profile else name, name, profile


def current(part: str) -> dict[str, Any]:
    grids = {told: read_grid(name, (), profile) for told, name, profile in plans()}
    return {told: keys_of(expand(grid, inputs=PARTS[part]())) for told, grid in grids.items() if part == "stated" or _is_here(grid)}


def _is_here(grid: Grid) -> bool:
    """Whether the grid's models come with this installation."""
    return all(is_placeholder(model) or model in tiny.catalog() for model in grid.axes.get("model", ()))


@pytest.mark.parametrize("part", PARTS)
def test_keys_of_shipped_grids_are_golden(part: str) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert current(part) == golden[part], REMEDY


def test_the_two_parts_differ_in_the_model_alone() -> None:
    stated, packaged = (current(part) for part in PARTS)
    same = {
        name: {kind for kind, keys in grid["stages"].items() if stated[name]["stages"][kind] == keys} for name, grid in packaged.items()
    }
    for grid, kinds in same.items():
        assert kinds == {"data", "blind"} or grid.endswith("published"), grid


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit("python tests/unit_jobs/test_golden_keys.py --update")
    GOLDEN.write_text(json.dumps({part: current(part) for part in PARTS}, indent=1, sort_keys=True) + "\n")
    print(f"wrote {GOLDEN.name}")
