"""The folder store, and what names a store."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.doctor import here
from jobs.errors import InputError, NotFound, OutOfReach
from jobs.store.folder import FolderStore
from jobs.store.open import open_store
from jobs.store.probe import examine, probe
from jobs.store.protocol import ObjectStore
from tests.failing_store import FailingStore
from tests.store_contract import StoreContract

ROOT = Path(__file__).resolve().parents[2]


class TestFolder(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return open_store(str(tmp_path / "store"))


class TestFailingDoubleThatDoesNotFail(StoreContract):
    """The double is a store itself: what it proves elsewhere is about failures, not about the double."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return FailingStore(open_store(str(tmp_path / "store")))


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    assert list(store.list("manifests/")) == []
    with pytest.raises(NotFound):
        store.get("a")
    store.delete("a")
    assert not (tmp_path / "store").exists()


def test_a_new_store_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    open_store(str(tmp_path / "store")).create("a", b"")
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0


def test_unfinished_writes_are_in_no_listing_and_are_found_and_abandoned(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert list(FolderStore(tmp_path / "none").unfinished()) == []
    store.create("a", b"1")
    old = tmp_path / ".part" / "old"
    old.write_bytes(b"half")
    os.utime(old, (1000.0, 1000.0))
    assert [entry.name for entry in store.list("")] == ["a"]
    (found,) = store.unfinished()
    assert found == ("", "old", 4, 1000.0)
    store.abandon(found)
    store.abandon(found)
    assert list(store.unfinished()) == []
    assert store.get("a").data == b"1"


WRITER = """
import sys
from jobs.store.open import open_store
from jobs.store.probe import probe
store = open_store(sys.argv[1])
print("ready", flush=True)
for number in range(1_000_000):
    store.create(f"objects/{number}", f"{number:08d}".encode() * 200_000)
"""


def test_a_killed_writer_leaves_whole_objects_alone(tmp_path: Path) -> None:
    for moment in (0.01, 0.03, 0.1):
        store = open_store(str(tmp_path / str(moment)))
        with subprocess.Popen([sys.executable, "-c", WRITER, store.url], cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(moment)
            writer.send_signal(signal.SIGKILL)
        for entry in store.list("objects/"):
            assert store.get(entry.name).data == f"{int(entry.name[8:]):08d}".encode() * 200_000


def test_what_must_outlast_a_power_cut_is_flushed_and_what_need_not_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    store = open_store(str(tmp_path))
    tag = store.create("a", b"1", durable=False)
    store.replace("a", b"2", tag, durable=False)
    assert len(flushed) == 0
    store.replace("a", b"3", store.create("b", b"") and store.get("a").tag)
    store.put_file("c", tmp_path / "a")
    assert len(flushed) == 3


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EACCES, "check who may read and write"),
        (errno.EROFS, "mounted read-only"),
        (errno.EPERM, "must allow hard links"),
    ],
)
def test_what_the_file_system_refuses_is_said_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    store = open_store(str(tmp_path))
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OutOfReach, match=hint):
        store.create("a", b"1")
    assert list(store.list("")) == []
    assert list((tmp_path / ".part").iterdir()) == []


class Overwriting(FailingStore):
    """A server that ignores, refuses or botches one kind of request."""

    def __init__(self, inner: ObjectStore, lacks: str) -> None:
        super().__init__(inner)
        self._lacks = lacks

    def create(self, name: str, data: bytes, *, durable: bool = True) -> str:
        if self._lacks == "If-None-Match":
            self.inner.delete(name)
        return super().create(name, data)

    def replace(self, name: str, data: bytes, tag: str, *, durable: bool = True) -> str:
        if self._lacks == "If-Match on what is gone" and self.inner.size(name) is None:
            return super().create(name, data)
        return super().replace(name, data, self.inner.get(name).tag if self._lacks == "If-Match" else tag)

    def delete(self, name: str, tag: str | None = None) -> None:
        if self._lacks == "delete refused" and tag is not None:
            raise OutOfReach("refused: NotImplemented")
        super().delete(name, None if self._lacks == "delete ignored" else tag)

    def move(self, name: str, to: str) -> None:
        super().move(name, to)
        if self._lacks == "parts" and self.inner.size(to) == 9 << 20:
            moved = self.inner.get(to)
            self.inner.replace(to, moved.data[8 << 20 :] + moved.data[: 8 << 20], moved.tag)


@pytest.mark.parametrize("ignored", ["If-None-Match", "If-Match"])
def test_a_probe_finds_a_server_that_ignores_conditions_and_leaves_nothing(tmp_path: Path, ignored: str) -> None:
    store = open_store(str(tmp_path))
    with pytest.raises(OutOfReach, match=rf"ignores conditional puts \({ignored}"):
        probe(Overwriting(store, ignored))
    assert list(store.list("")) == []


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        (
            "delete ignored",
            r"a conditional delete \(DeleteObject with If-Match\) does not do what it should: the lease or ",
        ),
        ("delete refused", r"a conditional delete .* fails: .* could be removed \(refused: NotImplemented\)$"),
        ("If-Match on what is gone", r"a conditional put on what is gone \(PutObject with If-Match\) does not do"),
        ("parts", r"a file in parts, copied and read \(.*\) does not do what it should: weights could not be stored"),
    ],
)
def test_the_doctor_says_what_of_the_ledger_s_operations_a_store_lacks_and_leaves_nothing(tmp_path: Path, lacks: str, told: str) -> None:
    store = open_store(str(tmp_path))
    lacking = Overwriting(store, lacks)
    probe(lacking)  # a run can begin
    found = here.store(lacking)
    assert (found.state, found.mend) == ("failed", here.STORE_MEND)
    assert re.search(told, found.found), found.found
    assert list(store.list("")) == []


def test_the_doctor_names_everything_that_a_store_lacks_at_once(tmp_path: Path) -> None:
    store = FailingStore(Overwriting(open_store(str(tmp_path)), "delete refused"), fail_at=1, only=("move",))
    with pytest.raises(OutOfReach, match=r"lacks what S2L relies on: a conditional delete .*; a file in parts"):
        examine(store)


def test_a_folder_and_its_file_url_are_the_same_store(tmp_path: Path) -> None:
    open_store(f"file://{tmp_path}/with%20space").create("a", b"1")
    assert open_store(str(tmp_path / "with space")).get("a").data == b"1"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "the store's name is empty; expected a folder"),
        ("http://127.0.0.1:8333/bucket", "AWS_ENDPOINT_URL_S3"),
        ("gs://bucket", "no store of kind 'gs'"),
        ("file://relative/folder", "three slashes"),
        ("s3://", "names no bucket"),
        ("s3://B_uck/x", "'B_uck' cannot be a bucket"),
        ("s3://bucket/a/../b", "not a name"),
        ("s3://bucket/prefix?versions", "names no bucket and prefix"),
        ("s3://KEY:SECRET@bucket", "credentials do not belong into the store's name"),
    ],
)
def test_a_text_that_names_no_store_is_refused_with_what_is_expected(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_store(url)
    assert "SECRET@" not in str(caught.value)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        open_store(str(tmp_path / "file"))


def test_a_folder_store_loads_no_s3_library() -> None:
    code = "import sys; from jobs.store.open import open_store; open_store('.'); assert not {'boto3', 'botocore'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_folder_below_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is a file, so that \S+file/deep/store cannot be a folder below it"):
        open_store(str(tmp_path / "file" / "deep" / "store"))
