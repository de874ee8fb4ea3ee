"""What is corrupt is found, named, put away and made again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import Corrupt, InputError
from jobs.keys import outputs_digest
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from tests.failing_store import FailingStore
from tests.ledger_cases import LedgerCase, chain


@pytest.fixture
def case(tmp_path: Path) -> LedgerCase:
    return LedgerCase(tmp_path)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [(flip, "is not what its manifest says"), (truncate, "is not what its manifest says"), (Path.unlink, "is missing from the store")],
)
@pytest.mark.parametrize("reader", ["fetch", "read"])
def test_a_spoilt_payload_is_found_named_put_away_and_made_again(case: LedgerCase, spoil: Any, what: str, reader: str) -> None:
    manifest = case.commit(case.data)
    blob = Paths.blob(manifest.payloads[0].sha256)
    spoil(case.path(blob))
    with pytest.raises(Corrupt, match=rf"^data {case.data.key}: payload 'out' {what}; the stage is in quarantine"):
        case.ledger.fetch(manifest, case.tmp / "into") if reader == "fetch" else case.ledger.read(manifest, "out")
    assert not (case.tmp / "into" / "out").exists()
    assert case.ledger.manifest(*case.data.id) is None
    assert case.ledger.store.size(blob) is None
    reason = json.loads(case.path(f"quarantine/{Paths.manifest(*case.data.id)}/1.reason.json").read_text())
    assert (reason["kind"], reason["key"], reason["payload"]) == ("data", case.data.key, "out")
    assert what in reason["reason"]
    assert case.commit(case.data).digest == manifest.digest
    assert case.ledger.read(manifest, "out") == b"one"


def test_a_payload_that_was_only_misread_once_is_no_corruption(case: LedgerCase) -> None:
    manifest = case.commit(case.data)

    class Flaky(FailingStore):
        def chunks(self, name: str) -> Any:
            self.calls.append(name)
            yield b"ONE" if len(self.calls) == 1 else b"one"

    flaky = Flaky(case.ledger.store)
    Ledger(flaky).fetch(manifest, case.tmp / "into")
    assert len(flaky.calls) == 2
    assert (case.tmp / "into" / "out").read_bytes() == b"one"
    assert case.ledger.manifest(*case.data.id) == manifest


def change(**changes: Any) -> Any:
    def spoil(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def rename_payload(path: Path) -> None:
    manifest = json.loads(path.read_text())
    manifest["payloads"][0]["name"] = "../../outside"
    manifest["digest"] = outputs_digest((p["name"], p["size"], p["sha256"]) for p in manifest["payloads"])
    path.write_text(json.dumps(manifest))


def change_seed(path: Path) -> None:
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))


BAD_MANIFESTS = {
    "truncated": (truncate, "is truncated or no JSON"),
    "empty": (lambda path: path.write_bytes(b""), "is truncated or no JSON"),
    "binary": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is truncated or no JSON"),
    "no mapping": (lambda path: path.write_text("[]"), "is garbled"),
    "a field gone": (lambda path: path.write_text('{"format": 1}'), "is garbled: kind: Field required"),
    "a field too many": (change(extra=1), "is garbled: extra"),
    "a wrong type": (change(schema_version="1"), "is garbled: schema_version"),
    "another kind": (change(kind="base"), "is about base"),
    "another key": (change(key="0" * 64), "is about data " + "0" * 64),
    "another spec": (change_seed, "its spec and parents make another key"),
    "another schema version": (change(schema_version=2), "its spec and parents make another key"),
    "another parent": (change(parents=[{"key": "0" * 64, "digest": "0" * 64, "kind": "data", "role": "data"}]), "make another key"),
    "other payloads": (change(payloads=[]), "its payloads make another digest"),
    "another digest": (change(digest="0" * 64), "its payloads make another digest"),
    "a payload outside": (rename_payload, "a payload that would leave its folder"),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_a_bad_manifest_counts_as_not_done_and_is_put_away(case: LedgerCase, name: str) -> None:
    spoil, message = BAD_MANIFESTS[name]
    manifest = case.commit(case.data)
    spoil(case.manifest_path(case.data))
    spoilt = case.manifest_path(case.data).read_bytes()
    assert case.ledger.manifest(*case.data.id) is None
    assert len(case.said) == 1
    assert message in case.said[0]
    assert "moved to quarantine, the stage will be made again" in case.said[0]
    assert case.path(f"quarantine/{Paths.manifest(*case.data.id)}/1").read_bytes() == spoilt
    assert case.ledger.manifest(*case.data.id) is None
    assert len(case.said) == 1
    assert case.commit(case.data).digest == manifest.digest


def test_a_manifest_under_another_stages_name_is_put_away(case: LedgerCase) -> None:
    case.commit(case.data)
    other = chain(seed=1)[0]
    case.manifest_path(other).write_bytes(case.manifest_path(case.data).read_bytes())
    assert case.ledger.manifest(*other.id) is None
    assert "is about data" in case.said[0]


def test_a_store_of_a_newer_s2l_is_left_alone(case: LedgerCase) -> None:
    case.commit(case.data)
    change(format=2, more=1)(case.manifest_path(case.data))
    with pytest.raises(InputError, match="the store was written by a newer S2L; install that one"):
        case.ledger.manifest(*case.data.id)
    assert case.quarantined() == []


def test_what_goes_bad_twice_is_kept_twice(case: LedgerCase) -> None:
    for content in ("one", "two"):
        case.ledger.retire(case.commit(case.data, content), "for a test")
    place = f"quarantine/{Paths.manifest(*case.data.id)}"
    assert case.quarantined() == [f"{place}/{name}" for name in ("1", "1.reason.json", "2", "2.reason.json")]


def test_a_manifest_made_anew_while_a_reader_looked_is_spared(case: LedgerCase) -> None:
    name = Paths.manifest(*case.data.id)
    case.commit(case.data)
    assert not case.ledger.quarantine.take(name, "seen earlier", {}, seen=b"garbled")
    assert case.ledger.manifest(*case.data.id) is not None
