"""Pictures of matches: which are shown, how many, how large, and that nothing of them is read unless they are asked for."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dashboards import matched
from dashboards.matched import matches
from dashboards.pictures import MAX_SIDE, data_uri
from dashboards.report import report
from tests.extraction_by_hand import MEMBERS, extracting, picture
from tests.grid_by_hand import World, world_of


def uri(shade: int) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture(shade)).decode()}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = world_of(tmp_path, [{"domain": "alba", "method": "lora"}])
    made.plan.trials[:] = [extracting(made, trial, rules=("l2", "tile_max")) for trial in made.plan.trials]
    return made.finish()


def test_each_image_is_shown_once_beside_its_nearest_candidate_the_nearest_first(world: World) -> None:
    (found,) = matches(world.plan, world.ledger)
    assert [(pair.candidate, pair.image) for pair in found.members][:2] == [(uri(106), uri(0)), (uri(101), uri(1))]
    assert [round(pair.l2, 3) for pair in found.members] == [0.001, 0.02, 0.03, 0.04]
    assert [(pair.candidate, pair.image, pair.tile_max) for pair in found.non_members] == [(uri(100), uri(50), 0.24)]


def test_what_is_cut_is_said(world: World) -> None:
    (found,) = matches(world.plan, world.ledger)
    assert (len(found.members), found.shown, found.false) == (matched.PAIRS, MEMBERS, 1)
    page = report(world.plan, world.ledger, show_private=True)
    assert "Members: the nearest 4 of 6 shown" in page
    assert "Non-members, false matches: 1 shown" in page
    assert page.count(uri(106)) == 1
    assert "what models gave back of them" in page


def test_without_being_asked_no_image_and_no_table_of_matches_is_read_or_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = type(world.ledger).read

    def watched(ledger: Any, manifest: Any, name: str) -> bytes:
        read.append(name)
        return whole(ledger, manifest, name)

    monkeypatch.setattr(type(world.ledger), "read", watched)
    page = report(world.plan, world.ledger)
    assert "extraction.json" in read
    assert not [name for name in read if name.endswith(".parquet")]
    assert "data:image" not in page
    assert "<img" not in page
    report(world.plan, world.ledger, show_private=True)
    assert {"images.parquet", "matches.parquet"} <= set(read)


def test_a_large_image_is_shown_small_and_one_that_cannot_be_decoded_not_at_all() -> None:
    shown = data_uri(picture(7, side=3 * MAX_SIDE))
    assert shown is not None
    assert Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))).size == (MAX_SIDE, MAX_SIDE)
    assert data_uri(picture(7)) == uri(7)
    assert data_uri(picture(7)[:40]) is None
    assert data_uri(b"GIF89a") is None


def test_where_the_candidates_are_no_longer_whole_the_page_is_still_made(world: World) -> None:
    node = world.plan.trials[0].extraction
    assert node is not None
    drawn = node.parent("drawn")
    assert drawn is not None
    manifest = world.ledger.manifest(drawn.kind, drawn.key)
    assert manifest is not None
    (blob,) = (world.work.parent / "store" / "blobs").rglob(manifest.payloads[0].sha256)
    blob.write_bytes(b"gone")
    assert matches(world.plan, world.ledger)[0].members == []
