"""Collecting is safe to kill at any call and beside another collector."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.errors import OutOfReach
from jobs.ledger.blobs import SMALL
from jobs.ledger.collect import collect
from jobs.ledger.garbage import Garbage, garbage
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.ledger.registry import Registered, registered_grids
from jobs.ledger.verify import verify
from tests.failing_store import FailingStore
from tests.ledger_cases import LedgerCase, blind

DAYS = 100 * 86_400.0


class DirtyCase(LedgerCase):
    """One of everything that goes, and a stage that stays."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.kept = self.commit(self.data, "kept")
        for seed in range(3):
            self.commit(blind(seed, self.data), f"blind {seed}")
        orphan = self.folder("files", {"f": b"nobody's"}) / "f"
        self.ledger.store.put_file(Paths.blob(hashlib.sha256(b"nobody's").hexdigest()), orphan)
        self.ledger.store.create("probe/abc", b"1")
        self.ledger.progress("a" * 64, 1).save(self.folder("progress"))
        self.ledger.leases.take("b" * 64)
        self.ledger.save_grid({"grid": "old", "grid_key": "1" * 64})
        self.now = self.path(Paths.lease("b" * 64)).stat().st_mtime + DAYS
        self.grids = registered_grids(self.ledger.store)

    def look(self) -> Garbage:
        return garbage(self.ledger, {self.data.key}, now=self.now, forget=registered_grids(self.ledger.store))

    def is_clean(self) -> bool:
        names = {entry.name for entry in self.ledger.store.list("")}
        return names == {Paths.manifest(*self.data.id), Paths.blob(self.kept.payloads[0].sha256)} and verify(self.ledger) == []


@pytest.fixture
def case(tmp_path: Path) -> DirtyCase:
    return DirtyCase(tmp_path)


def calls_of_a_whole_collection(tmp_path: Path) -> int:
    case = DirtyCase(tmp_path)
    counting = FailingStore(case.ledger.store)
    collect(Ledger(counting), case.look(), case.grids)
    assert case.is_clean()
    return len(counting.calls)


@pytest.mark.parametrize("small", [SMALL, 0], ids=["small files", "large files"])
@pytest.mark.parametrize("lost_answer", [False, True])
def test_a_collector_that_dies_at_any_call_leaves_whole_stages_and_the_next_one_ends_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost_answer: bool, small: int
) -> None:
    monkeypatch.setattr("jobs.ledger.aside.SMALL", small)
    for call in range(1, calls_of_a_whole_collection(tmp_path / "whole") + 1):
        case = DirtyCase(tmp_path / str(call))
        failing = FailingStore(case.ledger.store, fail_at=call, lost_answer=lost_answer)
        with pytest.raises(OutOfReach):
            collect(Ledger(failing), case.look(), case.grids)
        assert [problem for problem in verify(case.ledger) if problem.severity == "error"] == [], f"killed at {failing.calls[-1]}"
        collect(case.ledger, case.look(), registered_grids(case.ledger.store))
        assert case.is_clean(), f"killed at {failing.calls[-1]}"


def test_manifests_go_before_their_blobs(case: DirtyCase) -> None:
    counting = FailingStore(case.ledger.store, only=("delete",))
    collect(Ledger(counting), case.look(), case.grids)
    manifests = [place for place, call in enumerate(counting.calls) if "manifests/" in call]
    blobs = [place for place, call in enumerate(counting.calls) if "blobs/" in call]
    assert (len(manifests), len(blobs)) == (3, 4)
    assert max(manifests) < min(blobs)


def test_two_collectors_at_once_do_the_work_of_one(case: DirtyCase) -> None:
    looks = [case.look(), case.look()]
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda found: collect(case.ledger, found, case.grids), looks))
    assert said == [[], []]
    assert case.is_clean()


def test_each_prefix_is_listed_once_and_each_manifest_read_once_in_a_look(case: DirtyCase) -> None:
    counting = FailingStore(case.ledger.store)
    garbage(Ledger(counting), {case.data.key}, now=case.now)
    lists = [call for call in counting.calls if call.startswith("list ")]
    assert len(lists) == len(set(lists)) + 1, "leases are listed for their records and for their ages"
    assert len([call for call in counting.calls if call.startswith("get manifests/")]) == 4


def test_a_grid_to_forget_is_unregistered(case: DirtyCase) -> None:
    assert [grid.name for grid in case.grids] == [f"old@{'1' * 64}"]
    assert case.grids == [Registered(f"grids/old/{'1' * 64}.json", "old", "1" * 64, {"grid": "old", "grid_key": "1" * 64})]
    collect(case.ledger, case.look(), case.grids)
    assert case.ledger.grids() == []


def test_long_work_says_where_it_is(case: DirtyCase, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for module in ("garbage", "collect"):
        monkeypatch.setattr(f"jobs.ledger.{module}._SAID_EVERY", 2)
    found = garbage(case.ledger, {case.data.key}, now=case.now, say=said.append)
    collect(case.ledger, found, case.grids, said.append)
    assert {"reading manifests 1 to 2 of 4", "reading manifests 3 to 4 of 4"} <= set(said)
    assert {"removing stages 1 to 2 of 3", "removing stages 3 to 3 of 3"} <= set(said)
