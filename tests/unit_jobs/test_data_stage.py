"""The data stage: strangers and folders of public images; what changed or is not here is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.sources import resolve_public
from jobs.stages import data as stage
from jobs.stages.contract import StageJob
from jobs.stages.specs import DataStage, DrawnStrangers, FolderImages, PublicFolder
from jobs.worker.warm import Warm
from s2l_core.faces import draw, stranger_records
from s2l_core.images import ImageRecord, encode_png, read_images
from tests.unit_jobs.test_shake_stage import Kept


def made(tmp_path: Path, source: DrawnStrangers | PublicFolder | FolderImages, inputs: dict[str, Path] | None = None) -> list[ImageRecord]:
    out = tmp_path / "out"
    out.mkdir()
    spec = DataStage(source=source)
    stage.run(StageJob(spec, "key", (), out, Kept(tmp_path / "progress"), Warm(), "cpu", lambda fraction, words: None, inputs or {}))
    return read_images(out / "images.parquet")


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """Three images of nobody, as a folder without members."""
    folder = tmp_path / "public"
    folder.mkdir()
    rows = [{"file_name": f"{number}.png", "text": f"a street, {number}", "domain": "", "member": False} for number in range(3)]
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encode_png(draw("zorvik", 9, number)))
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_strangers_are_nobody_s_images_and_other_ones_than_the_tiny_autoencoder_saw(tmp_path: Path) -> None:
    records = made(tmp_path, DrawnStrangers(images=5))
    assert len(records) == 5
    assert all(record.member is None for record in records)
    seen = {record.image for record in stranger_records(seed=0, images=5)}
    assert not seen & {record.image for record in records}


def test_a_folder_of_public_images_is_read_whole(tmp_path: Path, public: Path) -> None:
    source, _ = resolve_public(str(public))
    records = made(tmp_path, source, {source.content: public})
    assert sorted(record.text for record in records) == ["a street, 0", "a street, 1", "a street, 2"]
    assert all(record.member is None for record in records)


def test_public_images_that_changed_since_planning_are_refused(tmp_path: Path, public: Path) -> None:
    source, _ = resolve_public(str(public))
    (public / "0.png").write_bytes(encode_png(draw("zorvik", 9, 7)))
    with pytest.raises(InputError, match=r"the public images in .* changed since the grid was planned"):
        made(tmp_path, source, {source.content: public})


@pytest.mark.parametrize(
    ("source", "told"),
    [(PublicFolder(content="a" * 64), "the public images"), (FolderImages(domain="ada", content="a" * 64), "the images of ada")],
)
def test_a_folder_that_is_not_here_is_told(tmp_path: Path, source: PublicFolder | FolderImages, told: str) -> None:
    with pytest.raises(InputError, match=f"{told} are not here: plan the grid again on a machine that has their folder"):
        made(tmp_path, source)
