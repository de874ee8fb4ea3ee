"""Verification names each stage that is corrupt, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import Corrupt, InputError
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest
from jobs.ledger.paths import Paths
from jobs.ledger.verify import Problem, verify
from tests.failing_store import FailingStore
from tests.ledger_cases import LedgerCase, blind, leave


@pytest.fixture
def case(tmp_path: Path) -> LedgerCase:
    made = LedgerCase(tmp_path)
    for node in (made.data, made.score, made.metrics):
        made.commit(node)  # all three leave the same bytes: one blob
    made.commit(blind(1, made.data), "alone")
    return made


def blob(manifest: Manifest | None) -> str:
    assert manifest is not None
    return Paths.blob(manifest.payloads[0].sha256)


def errors(case: LedgerCase) -> list[Problem]:
    return [problem for problem in verify(case.ledger) if problem.severity == "error"]


def stages(problems: list[Problem]) -> list[tuple[str, str]]:
    return [(problem.kind, problem.key) for problem in problems]


def test_a_whole_store_has_no_problem(case: LedgerCase) -> None:
    assert verify(case.ledger) == []


def test_an_empty_store_has_no_problem(tmp_path: Path) -> None:
    assert verify(LedgerCase(tmp_path).ledger) == []


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda path: path.write_bytes(b"ALONE"), "is corrupt: its bytes have another sha256"),
        (lambda path: path.write_bytes(b"al"), "is corrupt: its bytes have another sha256"),
        (Path.unlink, "is missing from the store"),
    ],
)
def test_a_spoilt_blob_names_its_stage_alone(case: LedgerCase, spoil: object, what: str) -> None:
    node = blind(1, case.data)
    name = blob(case.ledger.manifest(*node.id))
    spoil(case.path(name))  # type: ignore[operator]
    assert verify(case.ledger) == [Problem("blind", node.key, f"blind {node.key}: payload 'out' {what}", name)]
    assert case.ledger.manifest(*node.id) is not None  # looking changes nothing


def test_a_shared_blob_names_every_stage_and_is_read_once(case: LedgerCase) -> None:
    case.path(blob(case.ledger.manifest(*case.data.id))).write_bytes(b"ONE")
    counting = FailingStore(case.ledger.store, only=("chunks",))
    assert stages(verify(Ledger(counting))) == [case.data.id, case.metrics.id, case.score.id]
    assert len(counting.calls) == 2


@pytest.mark.parametrize("text", ["", "{", '{"format": 1}'])
def test_a_bad_manifest_is_named(case: LedgerCase, text: str) -> None:
    case.manifest_path(case.score).write_text(text)
    (problem,) = verify(case.ledger)
    assert (problem.kind, problem.key, problem.where) == (*case.score.id, Paths.manifest(*case.score.id))


def test_a_manifest_that_says_another_size_is_named(case: LedgerCase) -> None:
    from jobs.ledger.manifest import digest_of

    manifest = case.ledger.manifest(*case.score.id)
    assert manifest is not None
    payloads = (manifest.payloads[0].model_copy(update={"size": 4}),)
    lying = manifest.model_copy(update={"payloads": payloads, "digest": digest_of(payloads)})
    case.manifest_path(case.score).write_bytes(lying.to_bytes())
    (problem,) = verify(case.ledger)
    assert (problem.kind, problem.what.endswith("has 3 bytes instead of 4")) == ("score", True)


def test_what_is_no_manifest_is_named(case: LedgerCase) -> None:
    case.path("manifests/score/notes.txt").write_text("")
    assert verify(case.ledger) == [Problem("", "", "manifests/score/notes.txt is no manifest's name", "manifests/score/notes.txt")]


def test_repair_puts_away_what_is_corrupt_so_that_it_can_be_made_again(case: LedgerCase) -> None:
    alone = blind(1, case.data)
    case.path(blob(case.ledger.manifest(*case.data.id))).write_bytes(b"ONE")
    case.manifest_path(alone).write_text("{")
    case.path("manifests/score/notes.txt").write_text("")
    assert len([problem for problem in verify(case.ledger, repair=True) if problem.severity == "error"]) == 5
    assert errors(case) == []
    assert [case.ledger.manifest(*node.id) for node in (case.data, case.score, case.metrics, alone)] == [None] * 4
    assert case.ledger.quarantine.stages() == {case.data.id, case.score.id, case.metrics.id, alone.id}
    for node in (case.data, case.score, case.metrics):
        case.commit(node)
    assert errors(case) == []


def test_a_blob_that_no_manifest_names_is_told_and_stays(case: LedgerCase) -> None:
    manifest = case.ledger.manifest(*blind(1, case.data).id)
    assert manifest is not None
    case.ledger.retire(manifest, "for a test")
    orphan = Problem("", "", f"{blob(manifest)}: no manifest names this blob (5 bytes)", blob(manifest), "info")
    assert verify(case.ledger, repair=True) == [orphan]
    assert case.path(blob(manifest)).exists()


def test_progress_reaches_the_end_and_names_what_was_read(case: LedgerCase) -> None:
    said: list[tuple[float, str]] = []
    verify(case.ledger, say=lambda fraction, words: said.append((fraction, words)))
    assert said[-1][0] == 1.0
    assert sorted(words.partition(":")[2] for _, words in said) == [" whole", " whole"]


def test_a_newer_store_is_not_judged(case: LedgerCase) -> None:
    path = case.manifest_path(case.data)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(InputError, match="newer S2L"):
        verify(case.ledger, repair=True)
    assert case.quarantined() == []


def test_many_blobs_are_all_read(tmp_path: Path) -> None:
    case = LedgerCase(tmp_path)
    case.ledger.commit(case.data, leave(tmp_path, "many", {f"{n}": str(n).encode() for n in range(100)}), parents={}, made={})
    victim = case.ledger.manifest(*case.data.id)
    assert victim is not None
    case.path(Paths.blob(victim.payload("77").sha256)).write_bytes(b"78")
    assert [problem.what.split("'")[1] for problem in verify(case.ledger)] == ["77"]


def test_a_spoilt_blob_that_no_manifest_names_is_an_error_and_repaired(case: LedgerCase) -> None:
    node = blind(1, case.data)
    name = blob(case.ledger.manifest(*node.id))
    case.manifest_path(node).unlink()
    case.path(name).write_bytes(b"ALONE")
    (problem,) = errors(case)
    assert (problem.kind, problem.key, problem.where) == ("", "", name)
    assert "its bytes have another sha256; no manifest names it" in problem.what
    verify(case.ledger, repair=True)
    assert verify(case.ledger) == []


def test_a_commit_does_not_rely_on_a_blob_that_is_spoilt(case: LedgerCase) -> None:
    node = blind(1, case.data)
    name = blob(case.ledger.manifest(*node.id))
    case.manifest_path(node).unlink()
    case.path(name).write_bytes(b"ALONE")
    case.commit(node, "alone")
    assert verify(case.ledger) == []


def test_weights_that_were_dropped_and_made_again_are_missed_when_they_are_lost(case: LedgerCase) -> None:
    node = blind(2, case.data)  # the ledger does not ask which kind leaves weights
    data = case.ledger.manifest(*case.data.id)
    assert data is not None
    made = {"parents": {case.data.key: data}, "made": {}}
    folder = case.folder("weights", {"lora.safetensors": b"weights"})
    manifest = case.ledger.commit(node, folder, **made)
    case.ledger.store.create(Paths.dropped(manifest.payloads[0].sha256), b"{}")
    case.path(blob(manifest)).unlink()
    assert verify(case.ledger) == []
    case.manifest_path(node).unlink()
    case.ledger.commit(node, folder, **made)
    case.path(blob(manifest)).unlink()
    assert stages(errors(case)) == [node.id]


def test_who_only_looks_moves_nothing(case: LedgerCase) -> None:
    looking = Ledger(case.ledger.store, notice=case.said.append, look_only=True)
    node = blind(1, case.data)
    manifest = looking.manifest(*node.id)
    assert manifest is not None
    case.path(blob(manifest)).unlink()
    with pytest.raises(Corrupt, match="is missing from the store; running the grid makes the stage again"):
        looking.read(manifest, "out")
    case.manifest_path(case.score).write_text("{")
    assert looking.manifest(*case.score.id) is None
    assert "running the grid makes the stage again" in case.said[-1]
    assert case.quarantined() == []
