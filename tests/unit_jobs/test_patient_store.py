"""A store that is waited for: nothing is written twice, nothing read twice, and only what may pass is waited for."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from jobs.errors import AlreadyExists, Conflict, OutOfReach, Preempted, StoreLost
from jobs.ledger.ledger import Ledger
from jobs.ledger.patient import patient
from jobs.policy import Transient
from jobs.store import folder as folder_module
from jobs.store.folder import FolderStore
from jobs.store.patient import PatientStore
from jobs.store.protocol import ObjectStore
from jobs.store.s3 import S3Store
from tests.failing_store import FailingStore
from tests.ledger_cases import chain, leave

TRIES = 4


class Waits:
    """Waits that take no time, and what was said meanwhile."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.said: list[str] = []

    def around(self, inner: ObjectStore, after_outage: Callable[[], None] = lambda: None) -> PatientStore:
        policy = Transient(tries=TRIES, wait_s=2.0)
        return PatientStore(inner, policy, say=self.said.append, sleep=self.slept.append, after_outage=after_outage)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


CALLS: dict[str, Callable[[ObjectStore, Path], object]] = {
    "get": lambda store, _: store.get("a/b").data,
    "chunks": lambda store, _: b"".join(store.chunks("a/b")),
    "size": lambda store, _: store.size("a/b"),
    "list": lambda store, _: [(entry.name, entry.size) for entry in store.list("a/")],
    "create": lambda store, _: store.create("a/new", b"new"),
    "replace": lambda store, _: store.replace("a/b", b"new", store.get("a/b").tag),
    "put_file": lambda store, path: store.put_file("a/file", path),
    "move": lambda store, _: store.move("a/b", "a/c"),
    "delete": lambda store, _: store.delete("a/b", store.get("a/b").tag),
}


def contents(store: FolderStore) -> dict[str, bytes]:
    return {entry.name: store.get(entry.name).data for entry in store.list("")}


@pytest.mark.parametrize("lost_answer", [False, True])
@pytest.mark.parametrize("call", CALLS)
def test_every_call_outlasts_an_outage_and_has_the_effect_of_one(
    call: str, lost_answer: bool, folder: FolderStore, waits: Waits, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"file")
    twin = FolderStore(tmp_path / "twin")
    for store in (folder, twin):
        store.create("a/b", b"bytes")
    failing = FailingStore(folder, fail_at=1, only=(call,), once=True, lost_answer=lost_answer)
    assert CALLS[call](waits.around(failing), tmp_path / "file") == CALLS[call](twin, tmp_path / "file")
    assert contents(folder) == contents(twin)
    assert len(waits.slept) == 1
    assert "the store does not answer, trying again in 2 s" in waits.said[0] or "trying again in 3 s" in waits.said[0]


def test_somebody_elses_object_is_not_taken_for_ones_own(folder: FolderStore, waits: Waits) -> None:
    folder.create("a", b"theirs")
    failing = FailingStore(folder, fail_at=1, only=("create", "replace"), once=True)
    with pytest.raises(AlreadyExists):
        waits.around(failing).create("a", b"ours")
    failing = FailingStore(folder, fail_at=1, only=("create", "replace"), once=True)
    with pytest.raises(Conflict):
        waits.around(failing).replace("a", b"ours", "another tag")
    assert folder.get("a").data == b"theirs"


def test_a_store_that_stays_away_is_given_up_after_as_many_tries_as_the_policy_has(folder: FolderStore, waits: Waits) -> None:
    failing = FailingStore(folder, fail_at=1)
    with pytest.raises(StoreLost, match="told to fail"):
        waits.around(failing).get("a")
    assert (len(failing.calls), len(waits.slept)) == (TRIES, TRIES - 1)
    assert waits.slept == sorted(waits.slept)


def test_what_waiting_cannot_mend_is_not_waited_for(waits: Waits, tmp_path: Path) -> None:
    class Locked(FolderStore):
        def get(self, name: str) -> object:  # type: ignore[override]
            raise OutOfReach("no permission", passing=False)

    with pytest.raises(StoreLost, match="no permission"):
        waits.around(Locked(tmp_path)).get("a")
    assert waits.slept == []


def test_a_read_that_breaks_in_the_middle_goes_on_without_giving_a_byte_twice(folder: FolderStore, waits: Waits, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "large").write_bytes(data)
    folder.put_file("large", tmp_path / "large")

    class Breaks(FolderStore):
        left = 3

        def chunks(self, name: str) -> Iterator[bytes]:
            for number, chunk in enumerate(super().chunks(name)):
                if number == 2 and self.left:
                    self.left -= 1
                    raise OutOfReach("broken")
                yield chunk

    assert b"".join(waits.around(Breaks(folder.root)).chunks("large")) == data
    assert len(waits.slept) == 3


def test_somebody_who_must_leave_does_not_wait(folder: FolderStore) -> None:
    def no_time(seconds: float) -> None:
        raise Preempted

    store = PatientStore(FailingStore(folder, fail_at=1), Transient(), say=lambda words: None, sleep=no_time)
    with pytest.raises(Preempted):
        store.get("a")


def test_a_finished_computation_is_committed_when_the_store_is_back_and_is_not_made_twice(tmp_path: Path, waits: Waits) -> None:
    """Fails at every call of a commit in turn, with the request lost and with its answer lost."""
    for lost_answer in (False, True):
        for fail_at in range(1, 40):
            where = tmp_path / f"{lost_answer}-{fail_at}"
            failing = FailingStore(FolderStore(where / "store"), fail_at=fail_at, once=True, lost_answer=lost_answer)
            ledger = patient(Ledger(failing), Transient(), say=waits.said.append, sleep=waits.slept.append)
            node, files = chain()[0], leave(where, "out", {"a": b"1", "b": b"2"})
            manifest = ledger.commit(node, files, parents={}, made={})
            assert Ledger(failing.inner).manifest(*node.id) == manifest
            if len(failing.calls) < fail_at:
                assert fail_at > 4
                break
        else:
            pytest.fail("a commit has more calls than were tried")


def test_silence_of_another_holder_during_an_outage_proves_nothing(tmp_path: Path) -> None:
    now = [0.0]
    inner = FolderStore(tmp_path)
    theirs = Ledger(inner).leases.take("ab" * 32)
    assert theirs is not None
    failing = FailingStore(inner, only=("get",), once=True)
    ledger = patient(Ledger(failing, lease_ttl=60.0), Transient(), say=lambda words: None, sleep=lambda seconds: None)
    ledger.leases._clock = lambda: now[0]
    assert ledger.leases.take("ab" * 32) is None
    now[0] = 100.0  # in which the store was away, for them as for us
    failing.fail_at = len(failing.calls) + 1
    assert ledger.leases.take("ab" * 32) is None
    now[0] = 161.0
    assert ledger.leases.take("ab" * 32) is not None


def test_heartbeats_do_not_wait_and_one_whose_answer_was_lost_is_no_loss_of_the_lease(tmp_path: Path, waits: Waits) -> None:
    failing = FailingStore(FolderStore(tmp_path), fail_at=1, only=("replace",), once=True, lost_answer=True)
    leases = patient(Ledger(failing), Transient(), say=waits.said.append, sleep=waits.slept.append).leases
    lease = leases.take("ab" * 32)
    assert lease is not None
    with pytest.raises(OutOfReach):
        leases.renew(lease)
    assert waits.slept == []
    renewed = leases.renew(lease)
    assert renewed.record.beat == 1
    leases.release(renewed)
    assert leases.held() == {}


@pytest.mark.parametrize(
    ("number", "passing"), [(errno.ENOSPC, True), (errno.ESTALE, True), (errno.EIO, True), (errno.EACCES, False), (errno.EROFS, False)]
)
def test_a_full_disk_may_pass_and_a_lack_of_permission_does_not(number: int, passing: bool, folder: FolderStore) -> None:
    with pytest.raises(OutOfReach) as caught, folder_module._translated("a", folder.url):
        raise OSError(number, "told to fail")
    assert caught.value.passing is passing


@pytest.mark.parametrize(
    ("code", "status", "passing"),
    [
        ("SlowDown", 503, True),
        ("InternalError", 500, True),
        ("AccessDenied", 403, False),
        ("NoSuchBucket", 404, False),
        ("Odd", 403, False),
    ],
)
def test_what_a_bucket_refuses_does_not_pass_and_what_it_cannot_do_now_may(
    code: str, status: int, passing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    error = ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")  # type: ignore[typeddict-item]
    assert S3Store("bucket")._out_of_reach("a", error).passing is passing
    assert S3Store("bucket")._out_of_reach("a", EndpointConnectionError(endpoint_url="http://127.0.0.1:9")).passing


@pytest.mark.parametrize(("took_s", "outages"), [(14.0, 0), (16.0, 1)])
def test_an_outage_that_the_store_s_own_client_outlasts_is_told_too(waits: Waits, folder: FolderStore, took_s: float, outages: int) -> None:
    told, times = list[str](), iter([100.0, 100.0 + took_s])
    store = PatientStore(folder, Transient(), say=waits.said.append, after_outage=lambda: told.append("over"), clock=lambda: next(times))
    assert store.size("a") is None
    assert (len(told), waits.said) == (outages, [])
