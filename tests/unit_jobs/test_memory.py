"""What a driver knows of its store already: read once, never older than what it was told, and within bounds."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from jobs.errors import Corrupt
from jobs.ledger.ledger import Ledger
from jobs.ledger.memory import Memory
from jobs.ledger.paths import Paths
from jobs.store.open import open_store
from tests.failing_store import FailingStore
from tests.mirror_world import World


class Reads:
    """Objects that can be read, and how often each was."""

    def __init__(self, **objects: bytes) -> None:
        self.objects, self.read = objects, list[str]()

    def of(self, name: str, memory: Memory) -> bytes | None:
        def read() -> bytes | None:
            self.read.append(name)
            return self.objects.get(name)

        return memory.once(name, read)


def test_what_was_read_is_not_read_again_and_what_is_not_there_is() -> None:
    memory, there = Memory(), Reads(here=b"bytes")
    assert [there.of(name, memory) for name in ("here", "gone", "here", "gone")] == [b"bytes", None, b"bytes", None]
    assert there.read == ["here", "gone", "gone"]


def test_without_room_for_anything_everything_is_read_each_time() -> None:
    memory, there = Memory(0), Reads(here=b"bytes")
    memory.learn([("here", b"told")])
    assert [there.of("here", memory) for _ in range(2)] == [b"bytes", b"bytes"]
    assert there.read == ["here", "here"]


def test_what_is_told_counts_more_than_what_was_read_and_what_is_forgotten_is_read() -> None:
    memory, there = Memory(), Reads(one=b"old")
    there.of("one", memory)
    memory.learn([("one", b"new")])
    assert there.of("one", memory) == b"new"
    memory.forget(["one", "never known"])
    assert there.of("one", memory) == b"old"
    assert there.read == ["one", "one"]


def test_who_asks_for_what_is_being_read_waits_for_it() -> None:
    memory, reads = Memory(), list[str]()

    def slow() -> bytes:
        reads.append("read")
        time.sleep(0.2)
        return b"bytes"

    found: list[bytes | None] = []
    threads = [threading.Thread(target=lambda: found.append(memory.once("one", slow))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, reads) == ([b"bytes"] * 8, ["read"])


def test_it_never_takes_more_than_its_limit_the_news_goes_in_and_what_is_read_takes_no_place() -> None:
    one = len("00") + 300
    memory = Memory(4 * (one + 20))
    for number in range(50):
        memory.learn([(f"{number:02}", b"x" * 1000)])
        assert memory._used == sum(len(name) + len(kept) + 300 for name, kept in memory._kept.items()) <= memory._limit
    assert list(memory._kept) == ["46", "47", "48", "49"]
    there = Reads(other=b"y" * 1000)
    assert there.of("other", memory) == there.of("other", memory) == b"y" * 1000
    assert there.read == ["other", "other"]
    assert list(memory._kept) == ["46", "47", "48", "49"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path).finish()


def test_a_ledger_with_a_memory_asks_its_store_once_and_one_without_each_time(world: World) -> None:
    node = world.plan.trials[2].metrics["loss"]
    for memory, times in ((Memory(), 1), (None, 3)):
        store = FailingStore(world.ledger.store)
        ledger = Ledger(store, memory=memory)
        for _ in range(3):
            manifest = ledger.manifest(*node.id)
            assert manifest is not None
            assert ledger.read(manifest, "metrics.json")
        reads = [f"get {Paths.manifest(*node.id)}", f"get {Paths.blob(manifest.payloads[0].sha256)}"]
        assert sorted(store.calls) == sorted(reads * times)


def test_what_is_wrong_is_not_remembered_and_what_leaves_the_ledger_is_forgotten(world: World, tmp_path: Path) -> None:
    ledger = Ledger(open_store(world.ledger.store.url), notice=lambda text: None, memory=Memory())
    spoiled, retired, garbled = (trial.metrics["loss"] for trial in world.plan.trials[:3])
    manifest = ledger.manifest(*spoiled.id)
    assert manifest is not None
    blob = tmp_path / "store" / Paths.blob(manifest.payloads[0].sha256)
    blob.write_bytes(b"!" + blob.read_bytes()[1:])
    with pytest.raises(Corrupt):
        ledger.read(manifest, "metrics.json")
    assert ledger.manifest(*spoiled.id) is None
    old = ledger.manifest(*retired.id)
    assert old is not None
    ledger.retire(old, "made from older bytes")
    assert ledger.manifest(*retired.id) is None
    place = tmp_path / "store" / Paths.manifest(*garbled.id)
    whole = place.read_bytes()
    place.write_bytes(whole[:-20])
    assert ledger.manifest(*garbled.id) is None
    place.write_bytes(whole)
    assert ledger.manifest(*garbled.id) is not None
