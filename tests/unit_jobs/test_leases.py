"""Leases: one holder, dead ones followed, clocks allowed to differ."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.errors import Conflict
from jobs.ledger.holder import Holder
from jobs.ledger.leases import Lease, LeaseKeeper, LeaseRecord, Leases
from jobs.ledger.paths import Paths
from jobs.ledger.progress import StoredProgress
from jobs.store.open import open_store
from jobs.store.protocol import ObjectStore
from tests.failing_store import FailingStore

ROOT = Path(__file__).resolve().parents[2]
KEY = "ab" * 32


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store"))


def observer(store: ObjectStore, clock: Clock) -> Leases:
    return Leases(store, ttl=10.0, clock=clock)


def taken(leases: Leases | LeaseKeeper, key: str = KEY) -> Lease:
    lease = leases.take(key)
    assert lease is not None
    return lease


def elsewhere(store: ObjectStore, **changes: object) -> None:
    """A lease of another machine."""
    holder = Holder.me().model_copy(update={"host": "another", **changes})
    store.create(Paths.lease(KEY), LeaseRecord(holder=holder, number=5).to_bytes())


def test_a_lease_has_one_holder_until_it_is_given_back(store: ObjectStore) -> None:
    ours, theirs = Leases(store), Leases(store)
    lease = taken(ours)
    assert theirs.take(KEY) is None
    assert ours.take(KEY) is None
    assert set(theirs.held()) == {KEY}
    ours.release(lease)
    assert theirs.held() == {}
    assert taken(theirs).number > lease.number


class Retrying(FailingStore):
    """A store whose client sends a request again and again by itself: the clock goes on while it does, and nobody is told."""

    def __init__(self, inner: ObjectStore, clock: Clock) -> None:
        super().__init__(inner)
        self._clock, self.takes_s = clock, dict[str, float]()

    def _count(self, method: str, name: str) -> bool:
        self._clock.now += self.takes_s.get(method, 0.0)
        return super()._count(method, name)


@pytest.mark.parametrize("method", ["get", "create"])
@pytest.mark.parametrize("ask", ["take", "is_free"])
def test_while_the_store_s_own_client_waits_for_it_nobody_is_silent(store: ObjectStore, method: str, ask: str) -> None:
    clock = Clock()
    retrying = Retrying(store, clock)
    theirs = observer(retrying, clock)
    elsewhere(store)

    def is_over() -> bool:
        return theirs.take(KEY) is not None if ask == "take" else theirs.is_free(KEY)

    assert not is_over()
    for _ in range(2):  # 4 s of silence in all, and outages in which it could not be broken
        clock.now += 2.0
        retrying.takes_s = {method: 70.0} if ask == "take" or method == "get" else {}
        assert not is_over(), "a living holder's lease was taken over after an outage"
    retrying.takes_s = {}
    clock.now += 7.0
    assert is_over(), "a holder that stays silent is followed all the same"


def test_a_slow_store_does_not_keep_a_dead_holders_lease_alive(store: ObjectStore) -> None:
    clock = Clock()
    retrying = Retrying(store, clock)
    theirs = observer(retrying, clock)
    elsewhere(store)
    retrying.takes_s = {"get": 5.0}
    looks = 0
    while not theirs.is_free(KEY):
        looks += 1
        clock.now += 2.0  # what a driver waits between two looks
    assert looks < 10


def test_of_many_that_want_a_lease_at_once_one_gets_it(store: ObjectStore) -> None:
    ready = threading.Barrier(12)

    def want(_: int) -> Lease | None:
        leases = Leases(store)
        ready.wait()
        return leases.take(KEY)

    with ThreadPoolExecutor(12) as pool:
        assert sum(lease is not None for lease in pool.map(want, range(12))) == 1


def test_a_lease_runs_out_when_its_observer_has_seen_no_heartbeat_for_the_ttl(store: ObjectStore) -> None:
    elsewhere(store)
    clock = Clock(1000.0)
    leases = observer(store, clock)
    assert leases.take(KEY) is None  # however long ago it was written: the observer has just met it
    clock.now += 9.9
    assert leases.take(KEY) is None
    clock.now += 0.2
    assert taken(leases).number > 5


def test_a_heartbeat_keeps_a_lease(store: ObjectStore) -> None:
    clock = Clock()
    ours, theirs = Leases(store), observer(store, clock)
    lease = taken(ours)
    for _ in range(5):
        assert theirs.take(KEY) is None
        clock.now += 9.0
        lease = ours.renew(lease)
    assert theirs.take(KEY) is None


def test_clocks_of_two_machines_may_differ_by_a_day(store: ObjectStore) -> None:
    ahead = Leases(store, wall=lambda: time.time() + 86_400)
    behind = Leases(store, wall=lambda: time.time() - 86_400)
    first = taken(ahead)
    assert behind.take(KEY) is None
    StoredProgress(store, KEY, first.number, print).load(ROOT)  # leaves the number behind
    ahead.release(first)
    assert taken(behind).number > first.number


def test_a_lease_taken_over_cannot_be_renewed_or_given_back_by_its_old_holder(store: ObjectStore) -> None:
    clock = Clock()
    ours, theirs = Leases(store), observer(store, clock)
    lease = taken(ours)
    assert theirs.take(KEY) is None
    clock.now = 11.0
    new = taken(theirs)
    assert new.number > lease.number
    with pytest.raises(Conflict):
        ours.renew(lease)
    ours.release(lease)
    assert theirs.renew(new).number == new.number


def test_two_observers_do_not_both_take_over(store: ObjectStore) -> None:
    elsewhere(store)
    clock = Clock()
    observers = [observer(store, clock) for _ in range(8)]
    assert [leases.take(KEY) for leases in observers] == [None] * 8
    clock.now = 11.0
    with ThreadPoolExecutor(8) as pool:
        assert sum(lease is not None for lease in pool.map(lambda leases: leases.take(KEY), observers)) == 1


HOLD = """
import sys, time
from jobs.ledger.leases import Leases
from jobs.store.open import open_store
assert Leases(open_store(sys.argv[1])).take(sys.argv[2])
print("held", flush=True)
time.sleep(600)
"""


def test_a_killed_holder_of_this_machine_is_followed_at_once(store: ObjectStore) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, store.url, KEY], cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert Leases(store).take(KEY) is None
        holder.kill()
        deadline = time.monotonic() + 10
        while not Leases(store).held()[KEY].holder.is_gone() and time.monotonic() < deadline:
            time.sleep(0.01)  # a killed process takes a moment; nobody has collected it yet
        assert Leases(store).take(KEY) is not None


@pytest.mark.parametrize("changes", [{"host": "another"}, {"boot": "another"}, {"boot": ""}])
def test_a_holder_of_another_machine_or_boot_is_never_taken_for_dead(store: ObjectStore, changes: dict[str, str]) -> None:
    assert not Holder.me().model_copy(update={"pid": 2**22, **changes}).is_gone()
    elsewhere(store, pid=2**22, **changes)
    assert Leases(store).take(KEY) is None


def test_a_process_that_got_a_dead_holders_number_does_not_count_as_it() -> None:
    me = Holder.me()
    assert not me.is_gone()
    assert me.model_copy(update={"started": me.started - 1}).is_gone()


def test_a_garbled_lease_runs_out(store: ObjectStore) -> None:
    store.create(Paths.lease(KEY), b"{")
    clock = Clock()
    leases = observer(store, clock)
    assert leases.take(KEY) is None
    clock.now = 11.0
    assert leases.take(KEY) is not None


# --- the keeper ---


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_keeper_renews_all_its_leases_until_they_are_given_back(store: ObjectStore) -> None:
    leases = Leases(store)
    keeper = LeaseKeeper(leases, interval=0.01)
    first, second = taken(keeper, "a" * 64), taken(keeper, "b" * 64)
    wait_for(lambda: all(record.beat >= 3 for record in leases.held().values()))
    keeper.release(first)
    assert set(leases.held()) == {"b" * 64}
    assert not keeper.lost(second)
    keeper.close()
    assert leases.held() == {}


def test_a_keeper_says_that_a_lease_was_lost_and_leaves_it_to_its_new_holder(store: ObjectStore) -> None:
    said: list[str] = []
    clock = Clock()
    keeper, theirs = LeaseKeeper(Leases(store), interval=3600, notice=said.append), observer(store, clock)
    lease = taken(keeper)
    assert theirs.take(KEY) is None
    clock.now = 11.0
    new = taken(theirs)
    keeper.renew_all()
    assert keeper.lost(lease)
    assert said == [f"another driver has taken over {KEY}"]
    keeper.release(lease)
    keeper.close()
    assert theirs.held()[KEY].number == new.number


def test_a_keeper_outlasts_a_store_that_does_not_answer_for_a_while(store: ObjectStore) -> None:
    said: list[str] = []
    failing = FailingStore(store, only=("replace", "delete"), fail_at=1, once=True)
    keeper = LeaseKeeper(Leases(failing), interval=3600, notice=said.append)
    lease = taken(keeper)
    keeper.renew_all()
    assert "could not be renewed" in said[0]
    keeper.renew_all()
    assert not keeper.lost(lease)
    assert Leases(store).held()[KEY].beat == 1
    keeper.close()


def test_giving_back_to_a_store_that_does_not_answer_fails_nothing(store: ObjectStore) -> None:
    said: list[str] = []
    keeper = LeaseKeeper(Leases(FailingStore(store, only=("delete",), fail_at=1)), interval=3600, notice=said.append)
    keeper.release(taken(keeper))
    assert "could not be given back and will run out" in said[0]
    keeper.close()


def test_who_looks_again_and_again_sees_a_silent_lease_end_and_removes_it(store: ObjectStore) -> None:
    clock = Clock()
    driver = observer(store, clock)
    assert driver.is_free(KEY)
    elsewhere(store)
    assert not driver.is_free(KEY)
    clock.now = 11
    assert observer(store, Clock(11)).take(KEY) is None  # a worker that has just started has seen nothing yet
    assert driver.is_free(KEY)
    assert driver.held() == {}
    assert observer(store, Clock(11)).take(KEY) is not None


def test_a_lease_that_beats_is_not_free(store: ObjectStore) -> None:
    clock = Clock()
    holder, driver = Leases(store), observer(store, clock)
    lease = taken(holder)
    for clock.now in (0, 8, 16, 24):
        assert not driver.is_free(KEY)
        lease = holder.renew(lease)
