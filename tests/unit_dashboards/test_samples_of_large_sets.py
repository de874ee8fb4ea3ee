"""Whose sample images are shown, also of sets that are stored in shards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dashboards.samples import samples
from jobs.plan.graph import Graph, Node, ancestors
from s2l_core import images
from tests.plan_by_hand import PlanByHand


def test_a_set_in_shards_is_shown_from_its_first(make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "SHARD_IMAGES", 2)
    world = make_world(domains=("alba",))
    nodes = {node.kind: node for node in ancestors(leaf for trial in world.plan.trials for leaf in trial.leaves())}
    world.commit_images(nodes["data"], members=True)
    names = [payload.name for payload in world.ledger.manifest("data", nodes["data"].key).payloads]
    assert names == ["images-00000.parquet", "images-00001.parquet"]
    (shown,) = samples(world.plan, world.ledger)
    assert len(shown.members) == 2


def test_nobody_is_shown_under_another_s_name_where_models_are_attacked_on_other_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [("bruno", "alba"), ("alba", "alba"), ("alba", "bruno"), ("bruno", "bruno")]
    points = [{"domain": trained, "attack_domain": attacked, "method": "dreambooth"} for trained, attacked in pairs]
    plan = PlanByHand(Graph(), points).plan()
    asked: list[tuple[str, bool | None]] = []

    def looked_at(_: object, node: Node | None, *, member: bool | None) -> list[str]:
        if node is not None:
            asked.append((node.spec.model_dump_json(), member))
        return []

    monkeypatch.setattr("dashboards.samples._images", looked_at)
    shown = samples(plan, None)  # type: ignore[arg-type]
    assert [one.domain for one in shown] == ["alba", "bruno"]
    for (data, _), (drawn, _), domain in zip(asked[::2], asked[1::2], ("alba", "bruno"), strict=True):
        assert domain in data
        assert domain in drawn
    assert [member for _, member in asked] == [True, None, True, None]
