"""Commits: the shape of a manifest, one winner, all or nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.errors import NotFound, OutOfReach
from jobs.keys import canonical_json, outputs_digest, stage_key
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import Manifest, seeds_in
from jobs.ledger.paths import Paths
from jobs.plan.graph import Graph
from jobs.stages.specs import ShakeStage
from jobs.store.open import open_store
from s2l_core.specs.adapters import DenseAdapter
from s2l_core.specs.objectives import DenoiseObjective
from s2l_core.specs.training import TrainSpec
from tests.failing_store import FailingStore
from tests.ledger_cases import FILES, LedgerCase

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def case(tmp_path: Path) -> LedgerCase:
    return LedgerCase(tmp_path)


def test_a_manifest_has_the_promised_shape_to_the_letter(case: LedgerCase) -> None:
    parent = case.commit(case.data)
    manifest = case.ledger.commit(case.score, case.folder("out"), parents={case.data.key: parent}, made={"host": "h", "seconds": 1.5})
    written = json.loads(case.manifest_path(case.score).read_text())
    spec = case.score.spec.model_dump(mode="json")
    assert written == {
        "format": 1,
        "kind": "score",
        "key": stage_key("score", 1, canonical_json(spec), [("data", case.data.key)]),
        "digest": outputs_digest([(p["name"], p["size"], p["sha256"]) for p in written["payloads"]]),
        "spec": spec,
        "parents": [{"key": case.data.key, "digest": parent.digest, "kind": "data", "role": "data"}],
        "payloads": [
            {"name": "deep/curve.json", "size": 2, "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
            {"name": "scores.parquet", "size": 6, "sha256": manifest.payload("scores.parquet").sha256},
        ],
        "seeds": {},
        "code_version": manifest.code_version,
        "schema_version": 1,
        "made": {"host": "h", "seconds": 1.5},
    }
    for payload in written["payloads"]:
        assert case.path(f"blobs/{payload['sha256'][:2]}/{payload['sha256']}").read_bytes() == FILES[payload["name"]]


def test_what_was_committed_is_read_back_as_it_was(case: LedgerCase, tmp_path: Path) -> None:
    assert case.ledger.manifest(*case.data.id) is None
    manifest = case.ledger.commit(case.data, case.folder("out"), parents={}, made={})
    assert case.ledger.manifest(*case.data.id) == manifest
    assert case.ledger.committed("data") == {case.data.key}
    assert case.ledger.committed("score") == set()
    assert case.ledger.read(manifest, "deep/curve.json") == b"{}"
    case.ledger.fetch(manifest, tmp_path / "into")
    assert {name: (tmp_path / "into" / name).read_bytes() for name in FILES} == FILES
    with pytest.raises(NotFound, match=r"has no payload 'scores.json'; it has deep/curve.json, scores.parquet"):
        case.ledger.read(manifest, "scores.json")


def test_seeds_of_every_depth_are_listed(case: LedgerCase) -> None:
    assert case.commit(case.data).seeds == {"source.seed": 0}
    spec = ShakeStage(adapters=(DenseAdapter(),), objective=DenoiseObjective(), training=TrainSpec(), name="n", seed=7)
    assert case.commit(Graph().add(spec)).seeds == {"seed": 7}
    assert seeds_in({"a": [{"sp_seed": 3}, {"seed": None}], "seeds": 1, "seedy": 2, "seed": True}) == {"a.0.sp_seed": 3}


def test_when_and_where_a_stage_was_made_is_no_part_of_its_digest(case: LedgerCase, tmp_path: Path) -> None:
    other = LedgerCase(tmp_path / "other")
    assert case.commit(case.data, made={"host": "a"}).digest == other.commit(case.data, made={"host": "b"}).digest


def test_a_blob_that_is_there_is_not_written_again(case: LedgerCase) -> None:
    case.commit(case.data)
    counting = FailingStore(case.ledger.store)
    manifest = case.ledger.manifest(*case.data.id)
    assert manifest is not None
    Ledger(counting).commit(case.score, case.folder("data-one", {}), parents={case.data.key: manifest}, made={})
    assert not any(call.startswith("put_file") for call in counting.calls)
    assert counting.calls[-3:] == [
        f"create {Paths.manifest(*case.score.id)}",
        f"size {Paths.blob(manifest.payloads[0].sha256)}",  # it may have been taken for nobody's before the manifest named it
        f"list {Paths.progress_of(case.score.key)}",
    ]


def test_a_blob_that_was_collected_between_the_look_at_it_and_the_manifest_is_put_back(case: LedgerCase) -> None:
    manifest = case.commit(case.data)
    blob = Paths.blob(manifest.payloads[0].sha256)

    class Collected(FailingStore):
        def create(self, name: str, data: bytes, *, durable: bool = True) -> str:
            if name.startswith(Paths.manifests):
                self.inner.delete(blob)
            return super().create(name, data, durable=durable)

    second = Ledger(Collected(case.ledger.store)).commit(
        case.score, case.folder("data-one", {}), parents={case.data.key: manifest}, made={}
    )
    assert case.ledger.read(second, "out") == b"one"


def test_a_blob_of_the_wrong_size_is_written_again(case: LedgerCase) -> None:
    manifest = case.commit(case.data)
    blob = case.path(Paths.blob(manifest.payloads[0].sha256))
    blob.write_bytes(b"")
    case.ledger.retire(manifest, "for a test")
    case.commit(case.data)
    assert blob.read_bytes() == b"one"


def test_the_second_writer_adopts_the_first_ones_result(case: LedgerCase) -> None:
    first = case.commit(case.data, "first", made={"host": "a"})
    assert case.commit(case.data, "second") == first
    assert json.loads(case.manifest_path(case.data).read_text())["made"] == {"host": "a"}
    assert case.said == [f"data {case.data.key} was committed by another writer with other bytes; theirs counts, ours is dropped"]
    assert [(theirs, ours.digest == theirs.digest) for ours, theirs in case.adopted] == [(first, False)]


def test_a_second_writer_with_the_same_bytes_is_no_news(case: LedgerCase) -> None:
    first = case.commit(case.data)
    assert case.commit(case.data, made={"host": "b"}) == first
    assert case.said == []
    assert [theirs for _, theirs in case.adopted] == [first]


def test_of_many_writers_at_once_all_get_the_winners_manifest(case: LedgerCase) -> None:
    ready = threading.Barrier(8)

    def write(number: int) -> Manifest:
        folder = case.folder(f"out-{number}", {"out": str(number).encode()})
        ready.wait()
        return Ledger(open_store(str(case.root)), notice=lambda _: None).commit(case.data, folder, parents={}, made={"writer": number})

    with ThreadPoolExecutor(8) as pool:
        manifests = list(pool.map(write, range(8)))
    assert all(manifest == case.ledger.manifest(*case.data.id) for manifest in manifests)
    assert case.ledger.read(manifests[0], "out") == str(manifests[0].made["writer"]).encode()


@pytest.mark.parametrize("lost_answer", [False, True])
def test_a_commit_that_dies_at_any_call_leaves_all_or_nothing(tmp_path: Path, lost_answer: bool) -> None:
    for fail_at in range(1, 100):
        case = LedgerCase(tmp_path / str(fail_at))
        failing = FailingStore(case.ledger.store, fail_at=fail_at, lost_answer=lost_answer)
        try:
            Ledger(failing, notice=case.said.append).commit(case.data, case.folder("out"), parents={}, made={})
            finished = True
        except OutOfReach:
            finished = False
        seen = case.ledger.manifest(*case.data.id)
        assert case.quarantined() == []
        if seen is not None:
            case.ledger.fetch(seen, case.tmp / "seen")  # raises if half of it is there
        again = case.ledger.commit(case.data, case.folder("out"), parents={}, made={})
        case.ledger.fetch(again, case.tmp / "again")
        if finished and not any("could not be removed" in said for said in case.said):
            break
    assert fail_at == 5  # two blobs, the manifest, the checkpoints: four calls


COMMITTER = """
import sys, pathlib
from jobs.ledger.ledger import Ledger
from jobs.store.open import open_store
from tests.ledger_cases import chain, leave
ledger = Ledger(open_store(sys.argv[1]))
print("ready", flush=True)
for seed in range(10_000):
    files = {f"part-{n}": f"{seed} {n} ".encode() * 50_000 for n in range(3)}
    ledger.commit(chain(seed)[0], leave(pathlib.Path(sys.argv[2]), str(seed), files), parents={}, made={})
"""


def test_a_committer_killed_at_any_moment_leaves_whole_stages_alone(tmp_path: Path) -> None:
    for moment in (0.01, 0.02, 0.05, 0.1, 0.2):
        case = LedgerCase(tmp_path / str(moment))
        command = [sys.executable, "-c", COMMITTER, str(case.root), str(case.tmp)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as committer:
            assert committer.stdout is not None
            committer.stdout.readline()
            time.sleep(moment)
            committer.send_signal(signal.SIGKILL)
        for key in case.ledger.committed("data"):
            manifest = case.ledger.manifest("data", key)
            assert manifest is not None
            case.ledger.fetch(manifest, case.tmp / "into")
        assert case.said == []
