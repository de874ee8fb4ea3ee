"""What `gc` takes for garbage and what it leaves, in a plain store and in an encrypted one; ages by an injected clock."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import pytest

from jobs.errors import Conflict
from jobs.ledger.collect import collect
from jobs.ledger.failures import Failure
from jobs.ledger.garbage import DAY_S, Ages, Category, Garbage, garbage
from jobs.ledger.paths import Paths
from jobs.ledger.registry import registered_grids
from jobs.ledger.verify import verify
from jobs.store.cipher import Cipher
from jobs.store.probe import clock_of
from tests.ledger_cases import LedgerCase, blind

NOW = 2_000_000_000.0
KEY = bytes(range(32))


class AgedCase(LedgerCase):
    """A ledger whose objects have the ages one gives them."""

    hide = staticmethod(lambda name: name)

    def age(self, days: float, *names: str) -> None:
        """Make the objects so many days old; all there are where none is named."""
        paths = [self.root / self.hide(name) for name in names] if names else [path for path in self.root.rglob("*") if path.is_file()]
        for path in paths:
            os.utime(path, (NOW - days * DAY_S,) * 2)

    def look(self, reached: set[str] = frozenset(), **settings: object) -> Garbage:  # type: ignore[assignment]
        return garbage(self.ledger, reached, now=NOW, **settings)  # type: ignore[arg-type]

    def found(self, category: Category, reached: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
        return sorted(entry.name for entry in self.look(reached).found[category])

    def collect(self, found: Garbage) -> list[str]:
        return collect(self.ledger, found, registered_grids(self.ledger.store))

    def names(self) -> set[str]:
        return {entry.name for entry in self.ledger.store.list("")}

    def blob(self, node_content: str) -> str:
        return Paths.blob(hashlib.sha256(node_content.encode()).hexdigest())


@pytest.fixture(params=["plain", "encrypted"])
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgedCase:
    if request.param == "plain":
        return AgedCase(tmp_path)
    monkeypatch.setenv("S2L_ENCRYPTION_KEY", base64.b64encode(KEY).decode())
    encrypted = AgedCase(tmp_path)
    encrypted.hide = Cipher(KEY).hide  # type: ignore[assignment]
    return encrypted


def stages(*nodes: object) -> list[str]:
    return sorted(Paths.manifest(*node.id) for node in nodes)  # type: ignore[attr-defined]


# --- stages and blobs ---


def test_what_no_grid_reaches_goes_with_its_files_and_what_it_was_made_from(case: AgedCase) -> None:
    other = blind(1, case.data)
    for node, content in ((case.data, "data"), (case.score, "score"), (case.metrics, "metrics"), (other, "blind")):
        case.commit(node, content)
    case.ledger.record_failure(Failure(kind="score", key=case.score.key, error_class="oom", message="m"))
    case.age(10)
    found = case.look({other.key})
    assert sorted(entry.name for entry in found.found["stages"]) == stages(case.score, case.metrics)
    assert found.kinds == {"score": 1, "metrics": 1}
    assert {entry.name for entry in found.found["stage_blobs"]} == {case.blob("score"), case.blob("metrics")}
    assert [entry.name for entry in found.found["failures"]] == [Paths.failure("score", case.score.key, 1)]
    assert case.collect(found) == []
    assert case.names() == {*stages(case.data, other), case.blob("data"), case.blob("blind")}
    assert verify(case.ledger) == []
    assert case.look({other.key}).sums() == dict.fromkeys(found.found, (0, 0))


def test_looking_removes_nothing(case: AgedCase) -> None:
    case.commit(case.data)
    case.age(10)
    before = case.names()
    assert case.look().sums()["stages"][0] == 1
    assert case.names() == before


def test_what_is_kept_keeps_all_that_it_was_computed_from(case: AgedCase) -> None:
    for node in (case.data, case.score, case.metrics):
        case.commit(node, node.kind)
    case.age(10)
    assert case.found("stages", {case.metrics.key}) == []
    assert case.found("stages", {case.score.key}) == stages(case.metrics)


def test_what_is_younger_than_the_grace_stays_with_what_it_was_computed_from(case: AgedCase) -> None:
    for node in (case.data, case.score):
        case.commit(node, node.kind)
    case.age(10)
    case.age(0.9, Paths.manifest(*case.score.id))
    assert case.found("stages") == []
    case.age(1.1, Paths.manifest(*case.score.id))
    assert case.found("stages") == stages(case.data, case.score)


def test_what_a_living_lease_covers_stays(case: AgedCase) -> None:
    case.commit(case.data)
    case.ledger.record_failure(Failure(kind="data", key=case.data.key, error_class="oom", message="m"))
    lease = case.ledger.leases.take(case.data.key)
    assert lease is not None
    case.ledger.progress(case.data.key, lease.number).save(case.folder("progress"))
    case.age(100)
    case.age(0.001, Paths.lease(case.data.key))
    sums = case.look().sums()
    assert [sums[category] for category in ("stages", "failures", "progress", "leases", "stage_blobs")] == [(0, 0)] * 5


def test_with_a_grid_of_which_nobody_can_tell_what_it_reaches_all_stages_stay(case: AgedCase) -> None:
    case.commit(case.data, "data")
    case.ledger.record_failure(Failure(kind="data", key=case.data.key, error_class="oom", message="m"))
    case.age(10)
    found = case.look(untold=["the folder is gone"])
    assert found.kept == ["the folder is gone"]
    assert not found.found["stages"] + found.found["failures"] + found.found["stage_blobs"]


def test_a_blob_that_a_kept_stage_names_too_stays(case: AgedCase) -> None:
    case.commit(case.data, "same")
    case.commit(blind(1, case.data), "same")
    case.age(10)
    found = case.look({case.data.key})
    assert (len(found.found["stages"]), found.found["stage_blobs"]) == (1, [])


def test_a_blob_that_no_manifest_names_goes_when_it_is_old(case: AgedCase) -> None:
    case.commit(case.data, "one")
    case.ledger.store.put_file(case.blob("nobody's"), case.folder("files", {"f": b"nobody's"}) / "f")
    case.ledger.store.create("blobs/notes.txt", b"a stranger's: not ours to remove")
    case.age(0.5)
    assert case.found("orphan_blobs", {case.data.key}) == []
    case.age(2)
    assert case.found("orphan_blobs", {case.data.key}) == [case.blob("nobody's")]


# --- the rest ---


def test_checkpoints_go_when_their_stage_is_done_or_nobody_has_held_it_for_long(case: AgedCase) -> None:
    done, given_up, waiting = "a" * 64, "b" * 64, "c" * 64
    case.commit(case.data)
    for key in (done, given_up, waiting, case.data.key):
        case.ledger.progress(key, 1).save(case.folder("progress"))
    case.age(2)
    for entry in list(case.ledger.store.list(Paths.progress_of(given_up))):
        case.age(8, entry.name)
    found = {name.split("/")[1] for name in case.found("progress", {case.data.key})}
    assert found == {given_up, case.data.key}
    case.age(0.5, Paths.progress_index(case.data.key))
    assert {name.split("/")[1] for name in case.found("progress", {case.data.key})} == {given_up}


def test_a_lease_that_has_run_out_goes_unless_it_was_renewed_meanwhile(case: AgedCase) -> None:
    first, second = (case.ledger.leases.take(key * 64) for key in "ab")
    assert first is not None
    assert second is not None
    case.age(2)
    found = case.look()
    assert len(found.found["leases"]) == 2
    renewed = case.ledger.leases.renew(first)
    case.collect(found)
    assert case.names() == {Paths.lease(first.key)}
    with pytest.raises(Conflict):
        case.ledger.leases.renew(second)
    assert case.ledger.leases.renew(renewed).number == first.number


def test_a_note_on_a_dropped_blob_goes_when_the_blob_is_back_or_nobody_names_it(case: AgedCase) -> None:
    manifest = case.commit(case.data, "gone")
    case.commit(case.score, "back")
    notes = [Paths.dropped(name.rpartition("/")[2]) for name in (case.blob("gone"), case.blob("back"), case.blob("nobody's"))]
    for note in notes:
        case.ledger.store.create(note, b"{}")
    case.ledger.store.delete(Paths.blob(manifest.payloads[0].sha256))
    case.age(2)
    assert case.found("dropped", {case.score.key}) == sorted(notes[1:])


def test_quarantine_goes_past_its_age_and_counts_from_the_day_it_was_put_there(case: AgedCase) -> None:
    manifest = case.commit(case.data)
    case.age(100)
    case.ledger.retire(manifest, "for the test")
    (moved,) = [entry for entry in case.ledger.store.list(Paths.quarantine) if not entry.name.endswith(".reason.json")]
    assert abs(moved.modified - clock_of(case.ledger.store)) < 3600, "its age is that of the move"
    case.age(29)
    assert case.found("quarantine") == []
    case.age(31)
    assert case.found("quarantine") == case.quarantined()
    assert len(case.quarantined()) == 2


def test_the_proof_that_a_stage_was_made_twice_stays_while_something_hangs_on_its_older_make(case: AgedCase) -> None:
    case.commit(case.data, "first make")
    case.commit(case.score, "of the first make")
    manifest = case.ledger.manifest(*case.data.id)
    assert manifest is not None
    case.ledger.retire(manifest, "for the test")
    case.commit(case.data, "second make")
    case.age(100)
    reached = {case.data.key, case.score.key}
    assert case.found("quarantine", reached) == []
    case.collect(case.look(reached))
    assert case.ledger.stale([case.score]) == [case.score]
    case.ledger.retire(case.ledger.manifest(*case.score.id), "stale")  # type: ignore[arg-type]
    case.commit(case.score, "of the second make")
    case.age(100)
    case.collect(case.look(reached))
    assert case.quarantined() == []
    assert case.ledger.stale([case.score]) == []


def test_probes_and_unfinished_writes_go_after_a_day(case: AgedCase) -> None:
    case.ledger.store.create("probe/abc", b"1")
    (case.root / ".part" / "half").write_bytes(b"half a file")
    case.age(0.9)
    assert (case.found("probe"), case.look().unfinished) == ([], [])
    case.age(1.1)
    found = case.look()
    assert found.sums()["probe"] == (1, 1)
    assert found.sums()["unfinished"] == (1, 11)
    case.collect(found)
    assert case.names() == set()
    assert list((case.root / ".part").iterdir()) == []


def test_a_longer_grace_spares_all_kinds(case: AgedCase) -> None:
    case.commit(case.data)
    case.ledger.store.create("probe/abc", b"1")
    case.ledger.progress("a" * 64, 1).save(case.folder("progress"))
    case.ledger.leases.take("b" * 64)
    (case.root / ".part" / "half").write_bytes(b"")
    case.age(40)
    assert sum(objects for objects, _ in case.look().sums().values()) == 8
    found = case.look(ages=Ages(grace=50 * DAY_S))
    assert sum(objects for objects, _ in found.sums().values()) == 0


# --- what happens meanwhile ---


def test_a_grid_that_is_registered_meanwhile_keeps_stages_and_blobs(case: AgedCase) -> None:
    case.commit(case.data, "one")
    case.age(10)
    found, before = case.look(), registered_grids(case.ledger.store)
    case.ledger.save_grid({"grid": "new", "grid_key": "1" * 64, "document": {}})
    (said,) = collect(case.ledger, found, before)
    assert "a grid was registered while garbage was looked for" in said
    assert set(stages(case.data)) | {case.blob("one")} <= case.names()


def test_a_stage_that_somebody_takes_meanwhile_stays_with_its_files_and_checkpoints(case: AgedCase) -> None:
    case.commit(case.data, "one")
    case.ledger.progress(case.score.key, 1).save(case.folder("progress"))
    case.age(10)
    found = case.look()
    assert found.sums()["progress"][0] == 3
    for key in (case.data.key, case.score.key):
        assert case.ledger.leases.take(key) is not None
    before = case.names()
    case.collect(found)
    assert before <= case.names()
    assert verify(case.ledger) == []


def test_a_blob_that_a_new_stage_has_named_meanwhile_stays(case: AgedCase) -> None:
    case.ledger.store.put_file(case.blob("one"), case.folder("files", {"f": b"one"}) / "f")
    case.age(10)
    found = case.look()
    assert [entry.name for entry in found.found["orphan_blobs"]] == [case.blob("one")]
    manifest = case.commit(case.data, "one")
    case.collect(found)
    assert case.ledger.read(manifest, "out") == b"one"


def test_a_blob_that_was_written_again_meanwhile_stays(case: AgedCase) -> None:
    path = case.folder("files", {"f": b"one"}) / "f"
    case.ledger.store.put_file(case.blob("one"), path)
    case.age(10)
    found = case.look()
    case.ledger.store.put_file(case.blob("one"), path)
    case.age(0, case.blob("one"))
    case.collect(found)
    assert case.names() == {case.blob("one")}
