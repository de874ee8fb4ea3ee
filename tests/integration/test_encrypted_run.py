"""A whole run on an encrypted store: the same results, and a folder in which nothing can be read without the key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jobs.store.key import new_key
from s2l_core.faces import IDENTITIES
from tests.s2l_process import Home

pytestmark = pytest.mark.cluster

GRID = """\
name: planted-name
fixed: {model: tiny, data: tiny-faces, sp_size: 4, sp_steps: 2, steps: 2, batch: 2, lr: 1e-2, alpha: rank, bootstrap: 100, attacks: [pia]}
axes: {domain: [DOMAIN], method: [none, lora+dreambooth], seed: [0]}
""".replace("DOMAIN", IDENTITIES[0])

TELLS = {
    "an image": b"\x89PNG\r\n\x1a\n",
    "a table": b"parquet-cpp",
    "a table's column": b"image_id",
    "weights": b"lora_A.weight",
    "a header of weights": b'"dtype"',
    "a manifest": b'"digest"',
    "JSON": b'"kind"',
    "the domain": IDENTITIES[0].encode(),
    "the grid": b"planted-name",
    "an attack": b'"pia"',
}
"""Long enough that random bytes do not hold them by chance."""


@dataclass
class KeyedHome(Home):
    """A home whose commands have an encryption key."""

    key: str = field(default_factory=new_key)

    def environment(self) -> dict[str, str]:
        return super().environment() | ({"S2L_ENCRYPTION_KEY": self.key} if self.key else {})


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> KeyedHome:
    """Through Ray, with a mirror, so that a key that took a wrong way would lie in somebody's file."""
    home = KeyedHome(tmp_path_factory.mktemp("encrypted"))
    (home.folder / "grid.yaml").write_text(GRID)
    done = home.run("run", str(home.folder / "grid.yaml"), "--workers", "1", "--json")
    (home.folder / "output").write_text(done.stdout + done.stderr)
    assert json.loads(done.stdout)["trials"] == {"done": 2, "failed": 0, "blocked": 0}
    return home


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("plain"))
    (home.folder / "grid.yaml").write_text(GRID)
    home.run("run", str(home.folder / "grid.yaml"), "--local", "--no-tracking")
    return home


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def told(store: Path) -> set[str]:
    """Which of the tells are in a store, in bytes or in names."""
    whole = [b"%s\n%s" % (str(path.relative_to(store)).encode(), path.read_bytes()) for path in files(store)]
    return {what for what, tell in TELLS.items() if any(tell in text for text in whole)}


def test_results_are_the_bytes_of_a_plain_run(encrypted: KeyedHome, plain: Home) -> None:
    assert encrypted.results("grid.yaml") == plain.results("grid.yaml") != b"[]\n"
    assert encrypted.json("run", "grid.yaml", "--no-tracking", "--local")["stages"]["ran"] == 0


def test_nothing_of_the_store_can_be_read_without_the_key(encrypted: KeyedHome, plain: Home) -> None:
    assert told(plain.store) == set(TELLS), "the plain store shows that each of these would be found"
    assert told(encrypted.store) == set()


def test_stages_and_payloads_cannot_be_looked_up_by_hash(encrypted: KeyedHome, plain: Home) -> None:
    names = {path.stem for path in files(plain.store / "manifests")} | {path.name for path in files(plain.store / "blobs")}
    assert len(names) > 10
    whole = b"".join(str(path).encode() + path.read_bytes() for path in files(encrypted.store))
    assert not [name for name in names if name.encode() in whole]
    assert not [name for name in names if bytes.fromhex(name) in whole]


def test_the_key_is_in_no_file_and_no_output(encrypted: KeyedHome) -> None:
    for path in files(encrypted.folder):
        assert encrypted.key.encode() not in path.read_bytes(), path


def test_verify_and_gc_work_through_it_and_nothing_works_without_the_key(encrypted: KeyedHome, tmp_path: Path) -> None:
    encrypted.run("verify")
    assert encrypted.json("gc", "--grace", "0")["found"]["stages"]["objects"] == 0
    assert encrypted.json("gc", "--grace", "0", "--forget", "planted-name")["found"]["stages"]["objects"] == 9
    home = KeyedHome(tmp_path, key="")
    shutil.copytree(encrypted.store, home.store)
    before = {path: path.read_bytes() for path in files(home.store)}
    (tmp_path / "grid.yaml").write_text(GRID)
    for args in (["run", "grid.yaml", "--local", "--no-tracking"], ["results", "grid.yaml"], ["verify"], ["gc", "--delete"], ["doctor"]):
        done = home.run(*args, check=(2, 4))
        assert "is encrypted (key id" in done.stderr + done.stdout, args
    home.key = new_key()
    assert "encrypted with another key" in home.run("run", "grid.yaml", "--local", "--no-tracking", check=(2,)).stderr
    assert {path: path.read_bytes() for path in files(home.store)} == before
