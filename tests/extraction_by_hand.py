"""What models gave back, made by hand: documents of numbers, tables of matches, and grey pictures to match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jobs.keys import canonical_json
from jobs.plan.graph import Node
from jobs.plan.plan import Trial
from jobs.stages.specs import ExtractStage, SpStage
from s2l_core.extraction.table import Matches, write_matches
from s2l_core.images import ImageRecord, encode_png, write_images
from s2l_core.metrics.distinct import Counted, change_interval, images_interval
from s2l_core.specs.extraction import ExtractionSpec
from s2l_core.specs.fidelity import PixelFeatures
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec
from tests.grid_by_hand import MADE, World, world_of

MEMBERS, CANDIDATES = 6, 20
BUDGETS = {"l2": ([7], [1, 2, 5, 11, 19]), "tile_max": ([], [5, 11])}
"""Where candidates showed another member, before and after, by rule."""
FALSE = {"l2": ([9], [3]), "tile_max": ([], [])}
"""The same of non-members."""


def side(found_at: Sequence[int]) -> dict[str, Any]:
    found = images_interval(len(found_at), len(found_at), 0, out_of=9)
    return {"images": len(found_at), "found_at": list(found_at), "low": found.low, "high": found.high}


def document(members: dict[str, Sequence[int]], non_members: dict[str, Sequence[int]], p_value: float | None = None) -> dict[str, Any]:
    rules = {}
    for rule, found_at in members.items():
        sides = {"members": side([*found_at, 20]), "members_compared": side(found_at), "non_members": side(non_members[rule])}
        flagged = len(found_at) + len(non_members[rule]) + 1
        precision = {"flagged": flagged, "members": len(found_at), "non_members": len(non_members[rule]), "value": 0.5, "p_value": p_value}
        beyond = {"value": len(found_at) - len(non_members[rule]), "p_value": 0.125}
        rules[rule] = {**sides, "precision": precision, "beyond": beyond}
    rest = {
        "compared": 8,
        "n_member": 9,
        "n_candidates": CANDIDATES,
        "retrieval": {"value": 0.5 if p_value is None else 0.75, "p_value": p_value or 1.0},
        "cliques": {"found": 3} | {rule: {"matched": 2, "members": len(found_at)} for rule, found_at in members.items()},
        "nearest": {side: {rule: {"least": least} for rule in members} for side, least in (("members", 0.011), ("non_members", 0.123))},
        "spec": {"candidates": CANDIDATES},
    }
    return {"rules": rules, **rest}


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What was found after, with what changed."""
    change: dict[str, Any] = {}
    for rule, found in after["rules"].items():
        for name in ("members", "members_compared", "non_members"):
            old, new = (Counted(one["images"], one["low"], one["high"]) for one in (before["rules"][rule][name], found[name]))
            delta = change_interval(old, new)
            told = {"before": int(old.value), "after": int(new.value), "delta": int(delta.value), "low": delta.low, "high": delta.high}
            change.setdefault(rule, {})[name] = told | {"p_value": 0.25}
        members, others = (
            Counted(*(change[rule][name][one] for one in ("delta", "low", "high"))) for name in ("members_compared", "non_members")
        )
        beyond, ends = change_interval(others, members), [one["rules"][rule]["beyond"]["value"] for one in (before, after)]
        told = {"before": ends[0], "after": ends[1], "delta": ends[1] - ends[0], "low": beyond.low, "high": beyond.high}
        change[rule]["beyond"] = told
    return after | {"change": change}


def documents(rules: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Before and after."""
    before, after = (
        document(*({rule: one[rule][when] for rule in rules} for one in (BUDGETS, FALSE)), p) for when, p in ((0, None), (1, 0.01))
    )
    return before, changed(before, after)


BEFORE, AFTER = documents(["l2"])


def picture(shade: int, side: int = 8) -> bytes:
    return encode_png(np.full((side, side, 3), shade, dtype=np.uint8))


def table() -> Matches:
    """Candidate i shows member i at .01 (i + 1), and one more candidate member 0; candidate 0 shows a non-member too."""
    rows = [(index, f"m{index}", True, 0.01 * (index + 1)) for index in range(MEMBERS)]
    rows += [(MEMBERS, "m0", True, 0.001), (0, "n0", False, 0.12)]
    number = len(rows)
    return Matches(
        candidate=[f"c{index}" for index, *_ in rows],
        position=[index + 1 for index, *_ in rows],
        image=[image for _, image, *_ in rows],
        member=[member for *_, member, _ in rows],
        l2=[l2 for *_, l2 in rows],
        tile_max=[2 * l2 for *_, l2 in rows],
        cosine=[None] * number,
        dy=[0] * number,
        dx=[0] * number,
        flip=[False] * number,
        shows_l2=[True] * number,
        shows_tile_max=[False] * number,
    )


def extracting(world: World, trial: Trial, *, rules: Sequence[str] = ("l2",)) -> Trial:
    """The trial with what its domain's model gives back, before and after; trials of one model share it."""
    if trial.shake is None:
        return trial
    base = next(node for role, node in trial.shake.parents if role == "base")
    after = next(node.parent("after") for node in trial.metrics.values())
    data = after.parent("data") if after is not None else None
    assert data is not None
    synthesis = SynthesisSpec(images=MEMBERS + 1, prompts=(PromptTemplate(text="photo of NAME"),), name="x", seed=2_000_003)
    drawn = world.graph.add(SpStage(synthesis=synthesis), [("base", base), ("shake", trial.shake)])
    spec = ExtractStage(extraction=ExtractionSpec(features=PixelFeatures()))
    before = world.graph.add(spec, [("drawn", base)])
    found = world.graph.add(spec, [("drawn", drawn), ("data", data), ("before", before)])
    numbers = [canonical_json(one).encode() for one in documents(rules)]
    files: list[tuple[Node, dict[str, Any]]] = [
        (drawn, {"images.parquet": [ImageRecord(f"c{index}", picture(100 + index), "", "x", None) for index in range(MEMBERS + 1)]}),
        (data, {"images.parquet": [ImageRecord(f"m{index}", picture(index), "", "x", True) for index in range(MEMBERS)]}),
        (before, {"extraction.json": numbers[0]}),
        (found, {"extraction.json": numbers[1], "matches.parquet": table()}),
    ]
    files[1][1]["images.parquet"].append(ImageRecord("n0", picture(50), "", "x", False))
    for node, content in files:
        if world.ledger.manifest(node.kind, node.key) is None:
            commit(world, node, content)
    return replace(trial, extraction=found)


def commit(world: World, node: Node, files: dict[str, Any]) -> None:
    folder = world.work / node.key
    folder.mkdir()
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif isinstance(content, Matches):
            write_matches(folder / name, content)
        else:
            write_images(folder / name, content)
    parents = {parent.key: world._manifest(parent) for _, parent in node.parents}
    world.ledger.commit(node, folder, parents=parents, made=MADE)


@pytest.fixture(scope="session")
def gives_back(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two domains and two ways, of which a control, whose models give members back. Only to be looked at."""
    ways = [{"method": "none", "train_on": "sp"}, {"method": "lora", "train_on": "sp"}, {"method": "lora", "train_on": "members"}]
    world = world_of(tmp_path_factory.mktemp("gives-back"), [{"domain": domain} | way for domain in ("alba", "bruno") for way in ways])
    world.plan.trials[:] = [extracting(world, trial, rules=tuple(BUDGETS)) for trial in world.plan.trials]
    return world.finish()
