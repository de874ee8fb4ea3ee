"""An encrypted store is a store, tells nothing to whoever has its bytes alone, and believes nothing that its key did not write."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.errors import Corrupt, InputError
from jobs.ledger.paths import Paths
from jobs.ledger.verify import verify
from jobs.store import cipher as cipher_module
from jobs.store.cipher import CHUNK, Cipher, Unreadable, bound_name, plain_size
from jobs.store.encrypted import UNREADABLE
from jobs.store.key import key_from_environment, new_key
from jobs.store.open import open_bare, open_store
from jobs.store.protocol import ObjectStore
from tests.ledger_cases import LedgerCase
from tests.store_contract import StoreContract

KEY = bytes(range(32))
TEXT = base64.b64encode(KEY).decode()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S2L_ENCRYPTION_KEY_FILE", raising=False)
    monkeypatch.setenv("S2L_ENCRYPTION_KEY", TEXT)


class TestEncryptedFolder(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return open_store(str(tmp_path / "store"))


# --- bytes ---


def sealed(data: bytes, name: str = "blobs/a") -> list[bytes]:
    """The header and each sealed chunk."""
    return list(Cipher(KEY).seal(name, [data]))


def unsealed(pieces: list[bytes], name: str = "blobs/a", key: bytes = KEY) -> bytes:
    return b"".join(Cipher(key).unseal(name, pieces))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_bytes_of_any_length_come_back_and_their_sealed_length_tells_theirs(size: int) -> None:
    data = bytes(size)
    pieces = sealed(data)
    whole = b"".join(pieces)
    assert unsealed(pieces) == data
    assert unsealed([whole[at : at + 100_003] for at in range(0, len(whole), 100_003)]) == data
    assert plain_size(len(whole)) == size


def test_equal_bytes_are_sealed_to_different_ones_each_time() -> None:
    assert sealed(b"same")[0] != sealed(b"same")[0]
    assert sealed(b"same")[1] != sealed(b"same")[1]


THREE = bytes(CHUNK) + b"\1" * CHUNK + b"end"


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p[:-1],
        lambda p: p[:2],
        lambda p: [p[0], p[2], p[1], p[3]],
        lambda p: [p[0], p[1], p[1], p[3]],
        lambda p: [p[0], p[2], p[3]],
        lambda p: [*p, b"more"],
        lambda p: [*p, p[3]],
        lambda p: [p[0], p[1][:-1] + bytes([p[1][-1] ^ 1]), *p[2:]],
        lambda p: [p[0][:-1] + bytes([p[0][-1] ^ 1]), *p[1:]],
        lambda p: [sealed(THREE)[0], *p[1:]],
        lambda p: [b""],
        lambda p: [p[0]],
        lambda p: [p[0][:20]],
        lambda p: [b"plain text that somebody put here, long enough for a header and more"],
    ],
    ids=(
        *("last cut", "cut", "swapped", "doubled", "left out", "longer", "last twice", "flipped", "salt", "other salt"),
        *("empty", "header", "half a header", "plain"),
    ),
)
def test_what_was_cut_reordered_or_changed_is_not_read(change: Callable[[list[bytes]], list[bytes]]) -> None:
    with pytest.raises(Unreadable):
        unsealed(change(sealed(THREE)))


def test_bytes_are_bound_to_their_name_and_their_key() -> None:
    with pytest.raises(Unreadable):
        unsealed(sealed(b"1"), name="blobs/b")
    with pytest.raises(Unreadable):
        unsealed(sealed(b"1"), key=bytes(32))


def test_a_name_in_quarantine_stands_for_the_one_before() -> None:
    assert bound_name("quarantine/blobs/ab/abcd/2") == "blobs/ab/abcd"
    assert bound_name("quarantine/blobs/ab/abcd/2.reason.json") == "quarantine/blobs/ab/abcd/2.reason.json"
    assert bound_name("blobs/ab/2") == "blobs/ab/2"
    assert bound_name("quarantine/2") == "quarantine/2"


def test_what_an_earlier_version_wrote_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The format is a promise: names and bytes written on 30 November 2026."""
    monkeypatch.setattr(cipher_module.os, "urandom", lambda count: bytes(count))
    assert Cipher(KEY).id == GOLDEN_ID
    assert Cipher(KEY).hide("grids/smoke/1.json") == GOLDEN_NAME
    assert b"".join(sealed(b"golden")).hex() == GOLDEN_BYTES


GOLDEN_ID = "a284e3f37ab49ab7f135792315098036"
GOLDEN_NAME = "grids/u6ljmht67k33qoaf7v7ckfuuapos67nhuq/efsltl2lcj2hc6wv2dbe3mfs73yht7rfjbxa"
GOLDEN_BYTES = "73326c2d656e633100000000000000000000000000000000000000000000000023b3264ea7ce17ec051a80de954837c6b9f9e31c2aeb"


# --- names ---


def test_names_come_back_and_prefixes_stay_prefixes() -> None:
    cipher = Cipher(KEY)
    name = f"manifests/shake/{'ab' * 32}.json"
    hidden = cipher.hide(name)
    assert cipher.show(hidden) == Cipher(KEY).show(hidden) == name
    assert hidden.startswith(cipher.hide("manifests/shake/"))
    assert cipher.hide("manifests/shake/").endswith("/")
    assert hidden.startswith("manifests/")
    assert "shake" not in hidden
    assert "ab" * 4 not in hidden


def test_one_part_under_two_folders_looks_different_and_a_strangers_name_is_none() -> None:
    cipher = Cipher(KEY)
    assert cipher.hide("progress/abc").rpartition("/")[2] != cipher.hide("leases/abc").rpartition("/")[2]
    assert cipher.show("manifests/data/abc.json") is None
    assert cipher.show(Cipher(bytes(32)).hide("leases/abc")) is None


def test_longest_names_of_the_ledger_fit_into_a_folder_and_a_bucket() -> None:
    key = "f" * 64
    names = [
        Paths.quarantine_reason(Paths.manifest("memorisation", key), 999_999),
        Paths.grid("g" * 64, key),
        Paths.progress_file(key, 10**15, key),
        Paths.failure("memorisation", key, 999_999),
        Paths.quarantine_reason(Paths.blob(key), 999_999),
    ]
    for name in names:
        hidden = Cipher(KEY).hide(name)
        assert len(hidden) < 900
        assert max(map(len, hidden.split("/"))) <= 255


# --- which key ---


def test_another_key_none_and_a_plain_store_with_a_key_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypted, plain = str(tmp_path / "encrypted"), str(tmp_path / "plain")
    open_store(encrypted).create("a/b", b"1")
    open_bare(plain).create("a/b", b"1")
    calls: list[Callable[[ObjectStore], object]] = [
        lambda store: store.get("a/b"),
        lambda store: list(store.list("")),
        lambda store: list(store.chunks("a/b")),
        lambda store: store.size("a/b"),
        lambda store: store.create("new", b"2"),
        lambda store: store.replace("a/b", b"2", "tag"),
        lambda store: store.put_file("new", Path(__file__)),
        lambda store: store.move("a/b", "c"),
        lambda store: store.delete("a/b"),
    ]

    def refused(url: str, said: str) -> None:
        before = {entry.name: open_bare(url).get(entry.name).data for entry in open_bare(url).list("")}
        for call in calls:
            with pytest.raises(InputError, match=said) as caught:
                call(open_store(url))
            assert TEXT not in str(caught.value)
        assert {entry.name: open_bare(url).get(entry.name).data for entry in open_bare(url).list("")} == before

    refused(plain, r"holds objects that are not encrypted \(there is no encryption.json\), and a key is set")
    monkeypatch.setenv("S2L_ENCRYPTION_KEY", new_key())
    refused(encrypted, r"encrypted with another key \(id [0-9a-f]{32}\)")
    monkeypatch.delenv("S2L_ENCRYPTION_KEY")
    refused(encrypted, r"is encrypted \(key id [0-9a-f]{32}\) and no key is set; set S2L_ENCRYPTION_KEY")
    monkeypatch.setenv("S2L_ENCRYPTION_KEY", TEXT)
    assert open_store(encrypted).get("a/b").data == b"1"


def test_looking_at_an_empty_store_writes_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    assert list(store.list("manifests/")) == []
    store.delete("a")
    assert not (tmp_path / "store").exists()


def test_a_damaged_marker_is_said(tmp_path: Path) -> None:
    open_bare(str(tmp_path)).create("encryption.json", b'{"format": 2}')
    with pytest.raises(InputError, match=r"encryption\.json of the store \S+ is damaged, or of a newer S2L"):
        open_store(str(tmp_path)).get("a")


@pytest.mark.parametrize("text", ["", "c2hvcnQ=", "not base64 at all!", base64.b64encode(bytes(33)).decode()])
def test_what_is_no_key_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.setenv("S2L_ENCRYPTION_KEY", text)
    with pytest.raises(InputError, match="S2L_ENCRYPTION_KEY holds no key; expected the base64 of 32 random bytes") as caught:
        open_store(str(tmp_path))
    assert not text or text not in str(caught.value)


def test_a_key_may_lie_in_a_file_and_not_in_two_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(TEXT + "\n")
    monkeypatch.setenv("S2L_ENCRYPTION_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(InputError, match="are both set"):
        key_from_environment()
    monkeypatch.delenv("S2L_ENCRYPTION_KEY")
    assert key_from_environment() == KEY
    monkeypatch.setenv("S2L_ENCRYPTION_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(InputError, match="cannot be read"):
        key_from_environment()


def test_each_new_key_is_another() -> None:
    assert len({new_key() for _ in range(20)}) == 20


# --- the ledger on it ---


@pytest.fixture
def case(tmp_path: Path) -> LedgerCase:
    return LedgerCase(tmp_path)


def on_disk(case: LedgerCase, name: str) -> Path:
    return case.root / Cipher(KEY).hide(name)


def test_neither_bytes_nor_names_of_a_ledger_tell_what_was_put_there(case: LedgerCase) -> None:
    planted = b"\x89PNG\r\n\x1a\n a face of Planted Person"
    manifest = case.commit(case.data, planted.decode("latin-1"))
    case.ledger.save_grid({"grid": "planted-grid", "grid_key": "ab" * 32, "document": {"domain": "Planted Person"}})
    fence = case.ledger.leases.take(case.score.key)
    assert fence is not None
    case.ledger.progress(case.score.key, fence.number).save(case.folder("progress", {"weights": planted}))
    tells = [b"PNG", b"Planted", b"planted", b"kind", b"sha256", b"nobody", b"holder", case.data.key.encode(), case.score.key.encode()]
    tells += [payload.sha256.encode() for payload in manifest.payloads] + [hashlib.sha256(planted).hexdigest().encode()]
    files = [path for path in case.root.rglob("*") if path.is_file() and path.name != "encryption.json"]
    assert len([path for path in files if not path.parent.name.startswith(".")]) == 6
    for path in files:
        for tell in tells:
            assert tell not in path.read_bytes()
            assert tell not in str(path.relative_to(case.root)).encode()
    assert case.ledger.committed("data") == {case.data.key}
    assert case.ledger.grids()[0]["document"] == {"domain": "Planted Person"}
    assert case.ledger.progress(case.score.key, fence.number).load(case.tmp / "loaded")


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "another blob"])
def test_a_damaged_blob_goes_to_quarantine_and_is_made_again(case: LedgerCase, damage: str) -> None:
    manifest, other = case.commit(case.data, "one"), case.commit(case.score, "two")
    blob = on_disk(case, Paths.blob(manifest.payloads[0].sha256))
    data = blob.read_bytes()
    replaced = {
        "flipped": data[:-1] + bytes([data[-1] ^ 1]),
        "cut": data[:-1],
        "emptied": b"",
        "another blob": on_disk(case, Paths.blob(other.payloads[0].sha256)).read_bytes(),
    }
    blob.write_bytes(replaced[damage])
    assert [(problem.kind, problem.key) for problem in verify(case.ledger)] == [("data", case.data.key)]
    with pytest.raises(Corrupt, match="is not what its manifest says; the stage is in quarantine"):
        case.ledger.fetch(manifest, case.tmp / "into")
    assert Paths.quarantined(Paths.blob(manifest.payloads[0].sha256), 1) in case.quarantined()
    assert case.commit(case.data, "one").digest == manifest.digest
    assert [problem for problem in verify(case.ledger) if problem.severity == "error"] == []


def test_a_manifest_that_somebody_without_the_key_wrote_is_not_believed(case: LedgerCase) -> None:
    manifest = case.commit(case.data)
    on_disk(case, Paths.manifest(*case.data.id)).write_bytes(manifest.to_bytes())
    assert case.ledger.store.get(Paths.manifest(*case.data.id)).data == UNREADABLE
    assert case.ledger.manifest(*case.data.id) is None
    assert "moved to quarantine" in case.said[0]


def test_what_was_moved_to_quarantine_whole_can_still_be_read_there(case: LedgerCase) -> None:
    manifest = case.commit(case.data)
    case.ledger.retire(manifest, "for the test")
    name = Paths.quarantined(Paths.manifest(*case.data.id), 1)
    assert case.ledger.store.get(name).data == manifest.to_bytes()
    assert case.ledger.quarantine.stages() == {case.data.id}


def test_a_move_to_an_unrelated_name_does_not_launder_what_cannot_be_read(case: LedgerCase) -> None:
    case.ledger.store.create("a/b", b"1")
    on_disk(case, "a/b").write_bytes(b"planted")
    with pytest.raises(Corrupt, match=r"a/b in the store \S+ cannot be read with this key"):
        case.ledger.store.move("a/b", "c/d")


def test_a_large_file_is_sealed_in_pieces_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    large = tmp_path / "files" / "large"
    large.parent.mkdir()
    large.write_bytes(bytes(3 * CHUNK))
    store = open_store(str(tmp_path / "store"))
    store.put_file("blobs/large", large)
    assert max(map(len, store.chunks("blobs/large"))) == CHUNK
    assert [path.name for path in large.parent.iterdir()] == ["large"]
