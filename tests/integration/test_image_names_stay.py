"""Outside the store an image has a slug and a number for a name: no hash of it and no file's name leaves, by whatever way."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from s2l_core.faces import IDENTITIES, records
from s2l_core.images import ImageRecord, decode
from tests.planted_folders import saved, write_folder
from tests.s2l_process import Home

pytestmark = pytest.mark.slow

GRID = """\
name: named
fixed:
  {model: tiny, data: people, sp_size: 4, sp_steps: 2, guidance: 2.0, steps: 2, batch: 2, lr: 1e-3, attacks: [loss], bootstrap: 100,
   extraction: {features: pixels, candidates: 6, keep: 4, permutations: 99}, fidelity: pixels}
axes: {domain: [all], method: [none, lora]}
"""
BROKEN = """\
name: broken
fixed: {model: tiny, data: album, sp_size: 4, sp_steps: 2, steps: 2, batch: 2, lr: 1e-3, attacks: [loss], bootstrap: 100}
axes: {domain: [all], method: [none]}
"""
CUT_SHORT = "holiday-3-of-jane-roe.jpg"


@dataclass(frozen=True)
class Ran:
    """What a run left outside its store.

    Attributes:
        outside: every file that somebody might pass on.
        names: what an image must not be called there.
    """

    home: Home
    outside: tuple[Path, ...]
    names: tuple[str, ...]


def planted(person: str) -> list[ImageRecord]:
    """A person's drawings, in files whose names would give them away."""
    drawn = records(person, seed=0, members=6, non_members=6)
    return [ImageRecord(f"holiday-{number}-of-{person}.png", *tuple(vars(record).values())[1:]) for number, record in enumerate(drawn)]


def hashes(images: list[ImageRecord]) -> Iterator[str]:
    for image in images:
        for data in (image.image, decode(image.image).tobytes()):
            yield hashlib.sha256(data).hexdigest()
            yield hashlib.md5(data, usedforsecurity=False).hexdigest()


def cut_short(record: ImageRecord) -> ImageRecord:
    """A JPEG that ends too early: its header is all that planning looks at."""
    whole = saved(record, "JPEG", quality=90)
    return replace(record, image=whole[: len(whole) * 2 // 3])


def broken(home: Home) -> str:
    """What is said of a grid with an image that no stage can decode."""
    first, *others = planted(IDENTITIES[2])
    write_folder(home.folder / "album", [cut_short(replace(first, image_id=CUT_SHORT)), *others])
    (home.folder / "broken.yaml").write_text(BROKEN)
    said = [home.run("run", "broken.yaml", "--local", check=(3,)), home.run("status", "broken.yaml")]
    said.append(home.run("report", "broken.yaml", "-o", "broken.html"))
    return "".join(done.stdout + done.stderr for done in said)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    home = Home(tmp_path_factory.mktemp("named"))
    images = [image for person in IDENTITIES[:2] for image in planted(person)]
    write_folder(home.folder / "people", images)
    grid = home.folder / "grid.yaml"
    grid.write_text(GRID)
    said = [home.run("run", str(grid), "--local"), home.run("status", str(grid))]
    said += [home.run("results", str(grid), *more) for more in (["--extraction"], ["--fidelity"], ["--format", "csv"])]
    said.append(home.run("report", str(grid), "-o", "page.html", "--plots", "plots"))
    (home.folder / "said").write_text("".join(done.stdout + done.stderr for done in said))
    (home.folder / "said-of-broken").write_text(broken(home))
    private = {"store", "people", "album"}
    outside = [path for path in home.folder.rglob("*") if path.is_file() and not private & set(path.relative_to(home.folder).parts)]
    names = [*hashes(images), *(image.image_id for image in images), CUT_SHORT]
    return Ran(home, tuple(outside), tuple(names))


def leaks(ran: Ran, paths: Iterator[Path] | tuple[Path, ...]) -> set[str]:
    whole = b"\0".join(path.read_bytes() for path in paths)
    return {name for name in ran.names if name.encode() in whole}


def test_no_hash_of_an_image_and_no_name_of_its_file_is_anywhere_outside_the_store(ran: Ran) -> None:
    kinds = {path.name for path in ran.outside} | {path.suffix for path in ran.outside}
    assert {"mlflow.db", "page.html", "figures.json", ".svg", "said"} <= kinds
    assert any("artifacts" in str(path) or "mlruns" in str(path) for path in ran.outside), "MLflow's artifacts are among them"
    assert leaks(ran, ran.outside) == set()


def test_an_image_that_cannot_be_used_is_told_by_its_line_and_named_to_its_owner_alone(ran: Ran) -> None:
    told = f"the images of {IDENTITIES[2]} in {ran.home.folder / 'album'}: metadata.jsonl:1 cannot be used: not a readable image"
    tables = sqlite3.connect(ran.home.folder / "mlflow.db")
    messages = [value for (value,) in tables.execute("select value from tags where key = 's2l.failure.message'")]
    tables.close()
    assert messages
    assert all(message.startswith(told) for message in messages)
    assert told in (ran.home.folder / "said-of-broken").read_text()
    assert CUT_SHORT in ran.home.run("data", "check", "album", check=(2,)).stdout


def test_this_search_finds_a_name_that_is_there(ran: Ran) -> None:
    assert len(leaks(ran, iter([ran.home.folder / "people" / "metadata.jsonl"]))) == 24
    found = ran.home.folder / "leaky"
    found.write_text(ran.names[0])
    assert leaks(ran, (found,)) == {ran.names[0]}
    found.unlink()


def test_a_private_copy_shows_images_and_still_names_none_by_hash_or_file(ran: Ran) -> None:
    ran.home.run("report", "grid.yaml", "-o", "private.html", "--show-private")
    assert leaks(ran, (ran.home.folder / "private.html",)) == set()


def test_what_an_image_is_called_in_the_store_is_a_slug_and_a_number(ran: Ran, tmp_path: Path) -> None:
    from s2l_core.images import read_images

    found = set()
    for path in (ran.home.store / "manifests" / "data").glob("*.json"):
        (payload,) = json.loads(path.read_text())["payloads"]
        shutil.copy(ran.home.store / "blobs" / payload["sha256"][:2] / payload["sha256"], tmp_path / "images.parquet")
        found |= {record.image_id for record in read_images(tmp_path / "images.parquet")}
    assert found == {f"{person}-{number:06d}" for person in IDENTITIES[:2] for number in range(12)}
