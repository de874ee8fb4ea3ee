"""Sample images of sets that are stored in shards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dashboards.samples import samples
from jobs.graph import ancestors
from s2l_core import images


def test_a_set_in_shards_is_shown_from_its_first(make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "SHARD_IMAGES", 2)
    world = make_world(domains=("alba",))
    nodes = {node.kind: node for node in ancestors(leaf for trial in world.plan.trials for leaf in trial.leaves())}
    world.commit_images(nodes["data"], members=True)
    names = [payload.name for payload in world.ledger.manifest("data", nodes["data"].key).payloads]
    assert names == ["images-00000.parquet", "images-00001.parquet"]
    (shown,) = samples(world.plan, world.ledger)
    assert len(shown.members) == 2
