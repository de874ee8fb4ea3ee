"""Folders, models, stores and grids of somebody who means harm are refused in words: they run, hang and reach nothing."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs.errors import GridError, InputError
from jobs.grid.document import read_yaml
from jobs.ledger.registry import registered_grids
from jobs.sources.imagefolder import scan
from jobs.sources.models import copy_folder, resolve_model
from jobs.store.open import open_store
from s2l_core.families.sd import StableDiffusion
from tests.s2l_process import ROOT
from tests.sd_models import sd_model

DEEP = "[" * 100_000


def picture(kind: str = "PNG", **settings: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), "teal").save(buffer, format=kind, **settings)
    return buffer.getvalue()


# --- images ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, in a folder beside a secret."""
    (tmp_path / "photos").mkdir()
    for name, member in (("1.png", True), ("2.png", False)):
        (tmp_path / "photos" / name).write_bytes(picture())
        with (tmp_path / "photos" / "metadata.jsonl").open("a") as table:
            table.write(json.dumps({"file_name": name, "text": "photo", "domain": "Ann", "member": member}) + "\n")
    (tmp_path / "secret.png").write_bytes(picture())
    return tmp_path / "photos"


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "2.png").unlink()
        make(folder / "2.png")

    return change


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header, with a right checksum, claims this size."""
    data = picture()
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def broken_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture("WEBP", exif=exif, lossless=True).replace(b"MM\0*", b"MM\0\xff").replace(b"II*\0", b"II\xff\0")


def text_bomb() -> bytes:
    """A PNG of 200 bytes with 100 MB of text."""
    chunk = b"zTXtx\0\0" + zlib.compress(b"x" * 100_000_000)
    data = picture()
    return data[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def huge(path: Path) -> None:
    path.write_bytes(picture())
    os.truncate(path, 2**29 + 1)


HARMFUL: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe, which never ends": (instead(os.mkfifo), '"2.png" is no file'),
    "a device": (instead(lambda path: path.symlink_to("/dev/zero")), '"2.png" is a link that leads out of the folder'),
    "a link to a secret": (instead(lambda path: path.symlink_to("../secret.png")), '"2.png" is a link that leads out of the folder'),
    "a link to itself": (instead(lambda path: path.symlink_to("2.png")), 'there is no file "2.png"'),
    "a huge picture": (instead(lambda path: path.write_bytes(claiming(60_000, 60_000))), '"2.png" cannot be used: far too large; allowed'),
    "a large picture": (instead(lambda path: path.write_bytes(claiming(9_000, 9_000))), "too large: 9000 x 9000 pixels"),
    "a large WebP": (
        instead(lambda path: path.write_bytes(picture("WEBP", lossless=True)[:21] + b"\xff\xff\xff\x0f" + b"\0" * 50)),
        '"2.png" cannot be used',
    ),
    "a huge text in a small picture": (instead(lambda path: path.write_bytes(text_bomb())), '"2.png" cannot be used'),
    "a huge file": (instead(huge), '"2.png" is too large: more than 536,870,912 bytes'),
    "a deep line": (lambda folder: (folder / "metadata.jsonl").write_text(DEEP) and None, "metadata.jsonl:1: not JSON"),
}


@pytest.mark.parametrize("case", HARMFUL)
def test_an_image_folder_that_means_harm_is_refused(case: str, folder: Path) -> None:
    change, message = HARMFUL[case]
    change(folder)
    with pytest.raises(InputError) as told:
        scan(folder)
    assert message in str(told.value)


def test_a_table_that_is_a_pipe_is_not_waited_for(folder: Path) -> None:
    (folder / "metadata.jsonl").unlink()
    os.mkfifo(folder / "metadata.jsonl")
    with pytest.raises(InputError, match=r"has no metadata.jsonl"):
        scan(folder)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_exif_data_are_told_with_the_image_s_name(folder: Path) -> None:
    (folder / "2.png").write_bytes(broken_exif())
    from s2l_core.images import open_image

    with pytest.raises(ValueError, match="EXIF"):
        open_image(broken_exif())


# --- models ---

EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nclass Evil: pass\n"
AUTO_MAP = dict.fromkeys(("AutoModel", "AutoTokenizer", "AutoConfig", "AutoImageProcessor"), "evil.Evil")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mine"
    sd_model().save(folder)
    return folder


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "mine"))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_code_that_lies_in_a_model_and_is_asked_for_everywhere_is_neither_copied_nor_run(model: Path, tmp_path: Path) -> None:
    for part in ("unet", "vae", "text_encoder", "tokenizer"):
        (model / part / "evil.py").write_text(EVIL)
        name = "tokenizer_config.json" if part == "tokenizer" else "config.json"
        edit(model / part / name, auto_map=AUTO_MAP, trust_remote_code=True, custom_pipelines={"x": {"impl": "evil.py"}})
    (model / "pipeline.py").write_text(EVIL)
    edit(model / "model_index.json", custom_pipeline="pipeline.py", trust_remote_code=True)
    copy_folder(model, tmp_path / "copied")
    for folder in (model, tmp_path / "copied"):
        StableDiffusion.load(folder)
        assert not list(folder.rglob("ran"))
    assert not list((tmp_path / "copied").rglob("*.py"))


def test_another_class_than_the_allowed_ones_is_refused(model: Path) -> None:
    edit(model / "model_index.json", tokenizer=["evil", "Evil"])
    StableDiffusion.load(model)  # which class reads a tokenizer is not the folder's to say
    edit(model / "model_index.json", unet=["diffusers_modules.local.evil", "Evil"])
    with pytest.raises(InputError, match=r"unet is diffusers_modules.local.evil.Evil; allowed: .*remote code is never run"):
        resolve_model(str(model))


@pytest.mark.parametrize("name", ["tokenizer/tokenizer.json", "vae/config.json", "unet/diffusion_pytorch_model.safetensors"])
def test_a_link_in_a_model_reaches_no_other_file_of_this_machine(name: str, model: Path, tmp_path: Path) -> None:
    (model / name).rename(tmp_path / "secret")
    (model / name).symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=f"{name} is a link that leads out of the model's folder"):
        resolve_model(str(model))


def test_the_links_of_the_hub_s_own_cache_are_followed(model: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "hub" / "models--a--b" / "snapshots" / "0123", tmp_path / "hub" / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in model.rglob("*") if path.is_file())):
        at = snapshot / path.relative_to(model)
        at.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, blobs / str(number))
        at.symlink_to(blobs / str(number))
    assert resolve_model(str(snapshot))[0] == resolve_model(str(model))[0]


def header(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    found = json.loads(data[8 : 8 + length])
    change(found)
    text = json.dumps(found).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def overlap(found: dict[str, Any]) -> None:
    first, *_, last = sorted((entry for name, entry in found.items() if name != "__metadata__"), key=lambda entry: entry["data_offsets"])
    first["data_offsets"] = last["data_offsets"]


def negative(found: dict[str, Any]) -> None:
    first = min((entry for name, entry in found.items() if name != "__metadata__"), key=lambda entry: entry["data_offsets"])
    first["data_offsets"][0] = -8


def raw(text: bytes, length: int | None = None) -> Callable[[Path], None]:
    return lambda file: file.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text) and None


SAFETENSORS: dict[str, Callable[[Path], None]] = {
    "overlapping": lambda file: header(file, overlap),
    "negative": lambda file: header(file, negative),
    "a header longer than the file": raw(b"{}", 2**63),
    "a deep header": raw(DEEP.encode()),
    "offsets that are words": raw(b'{"x": {"dtype": "F32", "shape": [1], "data_offsets": ["a", "b"]}}'),
    "no tensors": raw(b"{}"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_a_weight_file_with_an_absurd_header_is_refused_at_planning(case: str, model: Path) -> None:
    SAFETENSORS[case](model / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(InputError, match="is no whole safetensors file"):
        resolve_model(str(model))


def test_a_header_beyond_any_model_is_not_read(model: Path) -> None:
    file = model / "vae" / "diffusion_pytorch_model.safetensors"
    raw(b"{", 2**40)(file)
    os.truncate(file, 2**40 + 8)  # a hole: it takes no room
    with pytest.raises(InputError, match=r"is no whole safetensors file: .* no readable header"):
        resolve_model(str(model))


def test_a_deep_configuration_is_refused(model: Path) -> None:
    (model / "unet" / "config.json").write_text(DEEP)
    with pytest.raises(InputError, match=r"unet/config.json is not readable JSON"):
        resolve_model(str(model))


# --- stores and grids ---


def test_a_registered_grid_that_is_too_deep_counts_as_unreadable(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.create("grids/deep/" + "0" * 64 + ".json", DEEP.encode())
    assert [grid.document for grid in registered_grids(store)] == [None]


@pytest.mark.parametrize("start", ["[", "{a: ", "- "])
def test_a_deep_grid_is_refused_and_ends_no_process(start: str) -> None:
    code = f"from jobs.grid.document import read_yaml\nread_yaml({start!r} * 150_000, 'g.yaml')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, "the interpreter itself survives"
    assert "GridError: g.yaml:1: lists and mappings are nested deeper than 20 levels" in done.stderr


@pytest.mark.parametrize("value", ["9" * 100_000, "0x" + "f" * 100_000, "1" + ":59" * 50_000, "1" + ":59" * 50_000 + ".5"])
def test_a_number_without_measure_is_a_text(value: str) -> None:
    assert read_yaml(f"a: {value}", "g.yaml").value == {"a": value}


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".hidden", "<b>"])
def test_a_grid_s_name_makes_no_path(name: str) -> None:
    from jobs.grid.read import parse_grid

    with pytest.raises(GridError, match="name"):
        parse_grid(f"name: {json.dumps(name)}\naxes: {{domain: [zorvik], method: [none]}}", "g.yaml")


def test_nothing_of_ours_opens_an_archive() -> None:
    openers = ("zipfile", "tarfile", "unpack_archive", "gzip", "bz2", "lzma", "np.load", "torch.load", "trust_remote_code=True")
    ours = [path for package in ("s2l_core", "jobs", "cluster", "dashboards") for path in (ROOT / package).rglob("*.py")]
    assert len(ours) > 200
    sources = {path: path.read_text(encoding="utf-8") for path in ours}
    assert [(path.name, word) for path, text in sources.items() for word in openers if word in text] == []
