"""What every object store must do; a back end's tests inherit it and bring a `store` fixture."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from jobs.errors import AlreadyExists, Conflict, InputError, NotFound
from jobs.store.open import open_store
from jobs.store.probe import clock_of, examine, probe
from jobs.store.protocol import ObjectStore

BAD_NAMES = [
    "",
    "/",
    "/etc/passwd",
    "a//b",
    "a/",
    "../a",
    "a/../b",
    "a/./b",
    ".part/x",
    "a/.lock",
    "-a",
    "a b",
    "a\nb",
    "ü",
    "a\\b",
    "x" * 901,
]
LARGE = 9 * 1024 * 1024  # more than one part of a multipart upload
WRITERS = 4
INCREMENTS = 15


class StoreContract:
    """Claims about a store, each one test."""

    def test_what_is_not_there_is_not_found(self, store: ObjectStore) -> None:
        assert store.size("nothing") is None
        assert list(store.list("")) == []
        assert list(store.list("no/such/")) == []
        with pytest.raises(NotFound, match="nothing"):
            store.get("nothing")
        with pytest.raises(NotFound, match="nothing"):
            list(store.chunks("nothing"))
        with pytest.raises(NotFound, match="nothing"):
            store.move("nothing", "something")

    @pytest.mark.parametrize("data", [b"", b"\x00\xff\r\n", "größe".encode()])
    def test_what_was_created_is_read_back(self, store: ObjectStore, data: bytes) -> None:
        tag = store.create("a/b.json", data)
        assert store.get("a/b.json").data == data
        assert store.get("a/b.json").tag == tag
        assert b"".join(store.chunks("a/b.json")) == data
        assert store.size("a/b.json") == len(data)

    def test_a_second_create_loses_and_changes_nothing(self, store: ObjectStore) -> None:
        store.create("a", b"first")
        with pytest.raises(AlreadyExists, match="has a already"):
            store.create("a", b"second")
        assert store.get("a").data == b"first"

    def test_replace_needs_the_tag_of_what_is_there(self, store: ObjectStore) -> None:
        first = store.create("a", b"1")
        second = store.replace("a", b"2", first)
        with pytest.raises(Conflict, match="changed"):
            store.replace("a", b"3", first)
        assert store.get("a").data == b"2"
        assert store.get("a").tag == second != first

    def test_replace_of_what_is_gone_is_a_conflict(self, store: ObjectStore) -> None:
        tag = store.create("a", b"1")
        store.delete("a")
        with pytest.raises(Conflict):
            store.replace("a", b"2", tag)
        assert store.size("a") is None

    def test_a_large_file_is_written_whole_and_written_over(self, store: ObjectStore, tmp_path: Path) -> None:
        large, small = tmp_path / "large", tmp_path / "small"
        large.write_bytes(os.urandom(LARGE))
        small.write_bytes(b"small")
        store.put_file("blob", large)
        assert b"".join(store.chunks("blob")) == large.read_bytes()
        store.put_file("blob", small)
        assert store.get("blob").data == b"small"

    def test_a_listing_holds_names_and_sizes_under_the_prefix_alone(self, store: ObjectStore) -> None:
        for name in ("a/1", "a/b/22", "ab/3", "c"):
            store.create(name, name.encode())
        assert sorted(entry[:2] for entry in store.list("a/")) == [("a/1", 3), ("a/b/22", 6)]
        assert sorted(entry.name for entry in store.list("")) == ["a/1", "a/b/22", "ab/3", "c"]
        with pytest.raises(InputError, match="ends in '/'"):
            list(store.list("a"))

    def test_a_moved_object_has_its_new_name_alone(self, store: ObjectStore) -> None:
        store.create("a", b"1")
        store.create("taken", b"2")
        store.move("a", "q/a/1")
        assert store.size("a") is None
        assert store.get("q/a/1").data == b"1"
        with pytest.raises(AlreadyExists):
            store.move("q/a/1", "taken")
        assert store.get("taken").data == b"2"
        assert store.get("q/a/1").data == b"1"

    def test_a_listing_dates_objects_by_one_clock(self, store: ObjectStore) -> None:
        before = clock_of(store)
        store.create("a", b"1")
        time.sleep(1.1)  # a bucket counts in seconds
        store.move("a", "b")
        (entry,) = store.list("")
        assert before <= entry.modified <= clock_of(store)
        assert entry.modified > before, "the age of an object is that of its name"

    def test_removing_twice_is_fine(self, store: ObjectStore) -> None:
        store.create("a", b"1")
        store.delete("a")
        store.delete("a")
        assert store.size("a") is None
        store.create("a", b"2")

    def test_removing_with_a_tag_spares_what_has_changed(self, store: ObjectStore) -> None:
        old = store.create("a", b"1")
        new = store.replace("a", b"2", old)
        with pytest.raises(Conflict):
            store.delete("a", old)
        assert store.get("a").data == b"2"
        store.delete("a", new)
        assert store.size("a") is None

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_a_name_that_could_leave_the_store_is_refused(self, store: ObjectStore, name: str, tmp_path: Path) -> None:
        calls: list[Callable[[], object]] = [
            lambda: store.get(name),
            lambda: list(store.chunks(name)),
            lambda: store.size(name),
            lambda: store.create(name, b""),
            lambda: store.replace(name, b"", "tag"),
            lambda: store.put_file(name, tmp_path),
            lambda: store.move(name, "a"),
            lambda: store.delete(name),
        ]
        for call in calls:
            with pytest.raises(InputError, match="not a name for an object"):
                call()

    def test_a_probe_is_content_and_leaves_nothing(self, store: ObjectStore) -> None:
        probe(store)
        examine(store)
        assert list(store.list("")) == []

    def test_of_many_threads_that_create_one_wins(self, store: ObjectStore) -> None:
        ready = threading.Barrier(16)

        def write(number: int) -> int | None:
            ready.wait()
            return _try_create(store, f"writer {number}")

        with ThreadPoolExecutor(16) as pool:
            won = [number for number, result in enumerate(pool.map(write, range(16))) if result]
        assert len(won) == 1
        assert store.get("raced").data == f"writer {won[0]}".encode()

    def test_of_many_processes_one_creates_and_no_count_is_lost(self, store: ObjectStore) -> None:
        store.create("counter", b"0")
        with ProcessPoolExecutor(WRITERS, mp_context=get_context("spawn")) as pool:
            won = list(pool.map(race, [store.url] * WRITERS, range(WRITERS)))
        assert sum(won) == 1
        assert store.get("raced").data == f"writer {won.index(True)}".encode()
        assert store.get("counter").data == str(WRITERS * INCREMENTS).encode()


def race(url: str, number: int) -> bool:
    """In a process of its own: count by compare-and-swap, and try to be the one that creates."""
    store = open_store(url)
    won = _try_create(store, f"writer {number}")
    for _ in range(INCREMENTS):
        _increment(store)
    return won


def _try_create(store: ObjectStore, text: str) -> bool:
    try:
        store.create("raced", text.encode())
    except AlreadyExists:
        return False
    return True


def _increment(store: ObjectStore) -> None:
    while True:
        stored = store.get("counter")
        try:
            store.replace("counter", str(int(stored.data) + 1).encode(), stored.tag)
            return
        except Conflict:
            continue
