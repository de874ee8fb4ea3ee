"""Stages made again, failures, grids, and what is counted as done."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jobs.ledger.failures import Failure, newest
from jobs.ledger.ledger import Ledger
from tests.failing_store import FailingStore
from tests.ledger_cases import LedgerCase, blind, chain


@pytest.fixture
def case(tmp_path: Path) -> LedgerCase:
    return LedgerCase(tmp_path)


def test_nothing_is_stale_while_nothing_was_put_away(case: LedgerCase) -> None:
    for node in (case.data, case.score, case.metrics):
        case.commit(node)
    counting = FailingStore(case.ledger.store)
    assert Ledger(counting).stale([case.metrics]) == []
    assert counting.calls == ["list quarantine/manifests/"]


def test_what_was_computed_from_an_older_make_is_stale_and_so_is_what_hangs_on_it(case: LedgerCase) -> None:
    for node in (case.data, case.score, case.metrics):
        manifest = case.commit(node)
        if node is case.data:
            first = manifest
    bystander = chain(seed=5)[0]
    case.commit(bystander)
    case.ledger.retire(first, "for a test")
    assert case.ledger.stale([case.metrics, bystander]) == []  # nothing newer is there yet
    case.commit(case.data, "other")
    assert case.ledger.stale([bystander, case.metrics]) == [case.score, case.metrics]
    for node in (case.score, case.metrics):
        outdated = case.ledger.manifest(*node.id)
        assert outdated is not None
        case.ledger.retire(outdated, "stale")
        case.commit(node)
    assert case.ledger.stale([case.metrics]) == []


def test_a_stage_made_again_with_the_same_bytes_makes_nothing_stale(case: LedgerCase) -> None:
    manifests = [case.commit(node) for node in (case.data, case.score, case.metrics)]
    case.ledger.retire(manifests[0], "for a test")
    case.commit(case.data)
    assert case.ledger.stale([case.metrics]) == []


# --- failures and grids ---


def failure(**changes: Any) -> Failure:
    values = {"kind": "score", "key": "ab" * 32, "error_class": "oom", "message": "no room", "traceback": "T", "host": "h"}
    return Failure(**values | changes)


def test_attempts_are_counted_and_cleared(case: LedgerCase) -> None:
    recorded = [case.ledger.record_failure(failure(message=text)) for text in ("one", "two")]
    blocked = case.ledger.record_failure(failure(kind="metrics", error_class="blocked", cause=("score", "ab" * 32)))
    assert [record.attempt for record in recorded] == [1, 2]
    assert case.ledger.failures() == [blocked, *recorded]
    assert json.loads(case.path(f"failures/score/{'ab' * 32}/2.json").read_text())["message"] == "two"
    case.ledger.clear_failures("score", "ab" * 32)
    assert case.ledger.failures() == [blocked]


def test_attempts_recorded_at_once_have_different_numbers(case: LedgerCase) -> None:
    with ThreadPoolExecutor(8) as pool:
        records = list(pool.map(lambda _: case.ledger.record_failure(failure()), range(24)))
    assert sorted(record.attempt for record in records) == list(range(1, 25))


def test_a_garbled_failure_record_is_ignored_with_a_word(case: LedgerCase) -> None:
    case.ledger.record_failure(failure())
    case.path(f"failures/score/{'ab' * 32}/1.json").write_text("{")
    assert case.ledger.failures() == []
    assert "is no failure record" in case.said[0]


def test_grids_are_kept_by_name_and_key(case: LedgerCase) -> None:
    documents = [{"grid": "b", "grid_key": "1" * 64, "axes": {"seed": [0]}}, {"grid": "a", "grid_key": "2" * 64}]
    for document in (*documents, documents[0]):
        case.ledger.save_grid(document)
    assert case.ledger.grids() == documents[::-1]
    assert case.path(f"grids/b/{'1' * 64}.json").exists()


def test_a_garbled_grid_is_ignored_with_a_word(case: LedgerCase) -> None:
    case.ledger.save_grid({"grid": "a", "grid_key": "1" * 64})
    case.path(f"grids/a/{'1' * 64}.json").write_text('{"grid"')
    assert case.ledger.grids() == []
    assert "is no grid's document" in case.said[0]


def test_counting_what_is_done_reads_no_manifest(case: LedgerCase) -> None:
    case.commit(case.data)
    nodes = [blind(seed, case.data) for seed in range(3)]
    for node in nodes:
        case.commit(node)
    case.path("manifests/blind/notes.txt").write_text("")
    counting = FailingStore(case.ledger.store)
    assert Ledger(counting).committed("blind") == {node.key for node in nodes}
    assert counting.calls == ["list manifests/blind/"]


def test_a_record_of_an_older_version_is_read_and_one_is_dated_when_it_is_written(case: LedgerCase) -> None:
    old = {"kind": "score", "key": "ab" * 32, "attempt": 1, "error_class": "oom", "message": "no room", "traceback": "T", "host": "h"}
    case.ledger.store.create(f"failures/score/{'ab' * 32}/1.json", json.dumps(old | {"cause": None}).encode())
    new = case.ledger.record_failure(failure(tries=3, micro_batch=2))
    first, second = case.ledger.failures()
    assert (first.message, first.at, first.tries, first.micro_batch) == ("no room", "", 0, None)
    assert second == new
    assert (new.attempt, new.tries, new.micro_batch) == (2, 3, 2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", new.at)


def test_what_is_taken_up_again_stays_as_history_and_no_longer_says_how_things_stand(case: LedgerCase) -> None:
    first = case.ledger.record_failure(failure())
    case.ledger.mark_tried_again(first)
    (kept,) = case.ledger.failures()
    assert kept.model_copy(update={"tried_again": ""}) == first
    assert kept.tried_again
    assert newest(case.ledger.failures()) == {}
    second = case.ledger.record_failure(failure(message="again"))
    assert second.attempt == 2
    assert newest(case.ledger.failures()) == {second.key: second}


def test_marking_a_record_that_is_gone_is_fine(case: LedgerCase) -> None:
    gone = case.ledger.record_failure(failure())
    case.ledger.clear_failures(gone.kind, gone.key)
    case.ledger.mark_tried_again(gone)
    assert case.ledger.failures() == []
