"""Checkpoints: whole or not at all, and only from whoever holds the stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import Conflict, OutOfReach
from jobs.ledger.paths import Paths
from jobs.ledger.progress import StoredProgress, fence_of
from jobs.store.open import open_store
from jobs.store.protocol import Entry, ObjectStore
from tests.failing_store import FailingStore
from tests.ledger_cases import chain, leave

KEY = "ab" * 32
FIRST = {"weights.safetensors": b"1" * 1000, "optimiser/state.json": b"{}", "step": b"10"}
SECOND = {"weights.safetensors": b"2" * 1000, "optimiser/state.json": b"{}", "step": b"20"}


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store"))


def progress(store: ObjectStore, fence: int, said: list[str] | None = None) -> StoredProgress:
    return StoredProgress(store, KEY, fence, (said if said is not None else []).append)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def loaded(store: ObjectStore, fence: int, into: Path) -> dict[str, bytes]:
    assert progress(store, fence).load(into)
    return files_in(into)


def test_without_a_checkpoint_nothing_is_loaded(store: ObjectStore, tmp_path: Path) -> None:
    assert not progress(store, 1).load(tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_the_newest_checkpoint_is_loaded_and_the_old_ones_files_are_gone(store: ObjectStore, tmp_path: Path) -> None:
    progress(store, 1).save(leave(tmp_path, "first", FIRST))
    progress(store, 1).save(leave(tmp_path, "second", SECOND))
    assert loaded(store, 1, tmp_path / "into") == SECOND
    assert len(list(store.list(Paths.progress_of(KEY)))) == 1 + len(SECOND)


def test_a_file_that_did_not_change_is_not_written_again(store: ObjectStore, tmp_path: Path) -> None:
    progress(store, 1).save(leave(tmp_path, "first", FIRST))
    counting = FailingStore(store, only=("put_file",))
    progress(counting, 1).save(leave(tmp_path, "second", SECOND))
    assert len(counting.calls) == 2


@pytest.mark.parametrize("lost_answer", [False, True])
def test_a_save_that_dies_at_any_call_leaves_the_old_or_the_new_checkpoint(tmp_path: Path, lost_answer: bool) -> None:
    for fail_at in range(1, 100):
        store = open_store(str(tmp_path / f"store-{fail_at}"))
        progress(store, 1).save(leave(tmp_path, "first", FIRST))
        failing = FailingStore(store, fail_at=fail_at, lost_answer=lost_answer)
        try:
            progress(failing, 1).save(leave(tmp_path, "second", SECOND))
            break
        except OutOfReach:
            assert loaded(store, 2, tmp_path / f"into-{fail_at}") in (FIRST, SECOND)
    assert fail_at > 5
    assert loaded(store, 2, tmp_path / "into") == SECOND


def test_whoever_loads_with_a_higher_number_shuts_out_the_lower_one(store: ObjectStore, tmp_path: Path) -> None:
    old = progress(store, 1)
    old.save(leave(tmp_path, "first", FIRST))
    assert loaded(store, 2, tmp_path / "into") == FIRST
    with pytest.raises(Conflict, match=r"another driver has taken over .* \(lease 2, ours is 1\)"):
        old.save(leave(tmp_path, "second", SECOND))
    with pytest.raises(Conflict):
        old.load(tmp_path / "again")
    assert loaded(store, 2, tmp_path / "into") == FIRST
    assert fence_of(store, KEY) == 2


def test_a_new_holder_shuts_out_the_old_one_even_before_any_checkpoint(store: ObjectStore, tmp_path: Path) -> None:
    assert not progress(store, 2).load(tmp_path / "into")
    with pytest.raises(Conflict):
        progress(store, 1).save(leave(tmp_path, "first", FIRST))
    assert not progress(store, 2).load(tmp_path / "into")


def test_the_shut_out_holder_removes_no_file_of_the_new_one(store: ObjectStore, tmp_path: Path) -> None:
    class TakenOverDuringSave(FailingStore):
        """Another driver saves just before our index is written."""

        def replace(self, name: str, data: bytes, tag: str, *, durable: bool = True) -> str:
            if not self.calls.count("taken"):
                self.calls.append("taken")
                progress(store, 2).save(leave(tmp_path, "theirs", SECOND))
            return super().replace(name, data, tag, durable=durable)

    progress(store, 1).save(leave(tmp_path, "first", FIRST))
    with pytest.raises(Conflict):
        progress(TakenOverDuringSave(store), 1).save(leave(tmp_path, "ours", FIRST | {"step": b"11"}))
    assert loaded(store, 2, tmp_path / "into") == SECOND


def test_a_holder_that_is_shut_out_while_it_tidies_up_removes_no_file_of_the_new_one(store: ObjectStore, tmp_path: Path) -> None:
    class TakenOverDuringTidying(FailingStore):
        """Another driver saves between our index and our look at what is left over."""

        def list(self, prefix: str) -> Iterator[Entry]:
            progress(store, 2).save(leave(tmp_path, "theirs", SECOND))
            return super().list(prefix)

    progress(TakenOverDuringTidying(store), 1).save(leave(tmp_path, "ours", FIRST))
    assert loaded(store, 2, tmp_path / "into") == SECOND


@pytest.mark.parametrize("spoil", ["flip", "delete"])
def test_a_damaged_checkpoint_is_none(store: ObjectStore, tmp_path: Path, spoil: str) -> None:
    progress(store, 1).save(leave(tmp_path, "first", FIRST))
    entry = next(entry for entry in store.list(Paths.progress_of(KEY)) if entry.size == 1000)
    path = Path(store.url) / entry.name
    path.write_bytes(b"x" * 1000) if spoil == "flip" else path.unlink()
    said: list[str] = []
    assert not progress(store, 2, said).load(tmp_path / "into")
    assert said == [f"the checkpoint of {KEY} is damaged; the stage starts from its beginning"]
    assert not progress(store, 2).load(tmp_path / "into")
    progress(store, 2).save(leave(tmp_path, "first", FIRST))
    assert loaded(store, 3, tmp_path / "again") == FIRST


def test_a_garbled_index_is_no_checkpoint_and_can_be_written_over(store: ObjectStore, tmp_path: Path) -> None:
    progress(store, 1).save(leave(tmp_path, "first", FIRST))
    (Path(store.url) / Paths.progress_index(KEY)).write_text('{"fence"')
    assert not progress(store, 1).load(tmp_path / "into")
    progress(store, 1).save(leave(tmp_path, "second", SECOND))
    assert loaded(store, 1, tmp_path / "into") == SECOND


def test_a_commit_removes_the_stages_checkpoints(tmp_path: Path) -> None:
    from jobs.ledger.ledger import Ledger

    ledger, node = Ledger(open_store(str(tmp_path / "store"))), chain()[0]
    ledger.progress(node.key, 1).save(leave(tmp_path, "first", FIRST))
    ledger.commit(node, leave(tmp_path, "out", {"a": b"1"}), parents={}, made={})
    assert list(ledger.store.list(Paths.progress_of(node.key))) == []
