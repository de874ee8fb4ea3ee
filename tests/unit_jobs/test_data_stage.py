"""The data stage: strangers and folders of public images; what changed or is not here is told."""

from __future__ import annotations

import io
import json
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from jobs.errors import InputError
from jobs.sources import resolve_public
from jobs.sources.check import inspect
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


PRIVATE = "jane-roe"


def spoiled(folder: Path, how: Callable[[Path], object]) -> Path:
    """The folder with its first image under a name that nobody should read, changed after planning."""
    table = folder / "metadata.jsonl"
    (folder / "0.png").rename(folder / f"{PRIVATE}.png")
    table.write_text(table.read_text().replace("0.png", f"{PRIVATE}.png"))
    how(folder / f"{PRIVATE}.png")
    return folder


def cut_short(path: Path) -> None:
    """A picture whose header is sound."""
    buffer = io.BytesIO()
    Image.open(path).save(buffer, "JPEG", quality=95)
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) * 2 // 3])


def out_of_reach(path: Path) -> None:
    """Not to be reached at all: the error of the operating system holds the path."""
    table = path.parent / "metadata.jsonl"
    table.write_text(table.read_text().replace(path.name, f"{PRIVATE * 40}.png"))


def without_a_table(path: Path) -> None:
    (path.parent / "metadata.jsonl").rename(path.parent / f"metadata-of-{PRIVATE}.jsonl")


SPOILED = {
    "cut short": (cut_short, r"metadata.jsonl:1 cannot be used: not a readable image: .*; `s2l data check` of its folder names"),
    "gone": (Path.unlink, r"metadata.jsonl:1 cannot be used \(missing-file\); `s2l data check .*public` says more, and names the file"),
    "no image": (lambda path: path.write_bytes(b"x"), r"metadata.jsonl:1 cannot be used \(unreadable\); `s2l data check .*public` says"),
    "out of reach": (out_of_reach, r"metadata.jsonl:1 cannot be used \(unreadable\); `s2l data check .*public` says"),
    "no table": (without_a_table, r"cannot be used any more; `s2l data check .*public` says why"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_is_wrong_with_a_folder_is_told_without_the_names_of_its_files(case: str, tmp_path: Path, public: Path) -> None:
    how, told = SPOILED[case]
    spoiled(public, how)
    source = resolve_public(str(public))[0] if case == "cut short" else PublicFolder(content="a" * 64)  # planning sees the others itself
    with pytest.raises(InputError, match=rf"the public images in .*public:? {told}") as caught:
        made(tmp_path, source, {source.content: public})
    assert PRIVATE not in "".join(traceback.format_exception(caught.value))
    assert PRIVATE in str(inspect(public, fpr=[0.1]).findings), "the check that it points to names the file"


def test_an_image_that_changes_while_it_is_read_is_not_named(tmp_path: Path, public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoiled(public, lambda path: None)
    source, found = resolve_public(str(public))
    monkeypatch.setattr(stage, "scan", lambda folder, two_sided: found)
    (public / f"{PRIVATE}.png").write_bytes(encode_png(draw("zorvik", 9, 7)))
    with pytest.raises(InputError, match=r"metadata.jsonl:1 changed while it was read; plan again when nobody writes") as caught:
        made(tmp_path, source, {source.content: public})
    assert PRIVATE not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("source", "told"),
    [(PublicFolder(content="a" * 64), "the public images"), (FolderImages(domain="ada", content="a" * 64), "the images of ada")],
)
def test_a_folder_that_is_not_here_is_told(tmp_path: Path, source: PublicFolder | FolderImages, told: str) -> None:
    with pytest.raises(InputError, match=f"{told} are not here: plan the grid again on a machine that has their folder"):
        made(tmp_path, source)
