"""`gc`, `verify --repair` and readers beside running grids: nothing that was committed or made again meanwhile is taken away."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.errors import Corrupt, OutOfReach
from jobs.ledger.aside import slices
from jobs.ledger.collect import collect
from jobs.ledger.garbage import DAY_S, Garbage, garbage
from jobs.ledger.ledger import Ledger
from jobs.ledger.manifest import digest_of
from jobs.ledger.paths import Paths
from jobs.ledger.registry import registered_grids
from jobs.ledger.verify import verify
from jobs.plan.graph import Node
from jobs.store.protocol import Entry
from tests.failing_store import Meanwhile
from tests.ledger_cases import LedgerCase, blind

SAME = "bytes that two stages leave"
NOBODYS = "nobody's 25"
"""Goes together with them."""


def blob(content: str) -> str:
    return Paths.blob(hashlib.sha256(content.encode()).hexdigest())


def spoilt(path: Path) -> None:
    path.write_bytes(b"spoilt")


class BusyCase(LedgerCase):
    """A stage that stays, and two that no grid reaches, of two weeks ago."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.commit(self.data, "kept")
        self.old, self.new = blind(1, self.data), blind(2, self.data)
        self.commit(self.old, SAME)
        self.commit(blind(3, self.data), NOBODYS)

    def look(self) -> Garbage:
        return garbage(self.ledger, {self.data.key, self.new.key}, now=time.time() + 14 * DAY_S)

    def collect_while(self, call: str, action: Callable[[], object]) -> None:
        """Collect, and somebody does something just before that call."""
        found = self.look()
        collect(Ledger(Meanwhile(self.ledger.store, call, action)), found, registered_grids(self.ledger.store))

    def is_whole(self, node: Node, content: str) -> bool:
        manifest = self.ledger.manifest(*node.id)
        return manifest is not None and self.ledger.read(manifest, "out") == content.encode() and verify(self.ledger) == []


@pytest.fixture(params=["plain", "encrypted"])
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BusyCase:
    if request.param == "encrypted":
        monkeypatch.setenv("S2L_ENCRYPTION_KEY", base64.b64encode(bytes(range(32))).decode())
    return BusyCase(tmp_path)


@pytest.fixture(params=["in memory", "in quarantine"])
def removal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The call that takes a blob out of its place: small and large ones go different ways."""
    if request.param == "in memory":
        return f"delete {blob(SAME)}"
    monkeypatch.setattr("jobs.ledger.aside.SMALL", 0)
    return f"move {blob(SAME)}"


# --- gc ---


def test_a_blob_that_a_commit_relied_on_while_it_went_is_put_back(case: BusyCase, removal: str) -> None:
    case.collect_while(removal, lambda: case.commit(case.new, SAME))
    assert case.is_whole(case.new, SAME)
    assert (case.ledger.manifest(*case.old.id), case.ledger.store.size(blob(NOBODYS)), case.quarantined()) == (None, None, [])


def test_a_blob_whose_own_stage_is_made_again_while_it_goes_is_put_back(case: BusyCase, removal: str) -> None:
    case.collect_while(removal, lambda: case.commit(case.old, SAME))
    assert case.is_whole(case.old, SAME)


def test_a_blob_that_the_second_make_of_a_kept_stage_leaves_is_put_back(case: BusyCase, removal: str) -> None:
    manifest = case.ledger.manifest(*case.data.id)
    assert manifest is not None

    def make_again() -> None:
        case.ledger.retire(manifest, "for the test")
        case.commit(case.data, SAME)

    case.collect_while(removal, make_again)
    assert case.ledger.read(case.ledger.manifest(*case.data.id), "out") == SAME.encode()  # type: ignore[arg-type]


def test_a_collector_that_is_stopped_puts_back_first(case: BusyCase, removal: str) -> None:
    def stop() -> None:
        raise OutOfReach("a moment's trouble")

    found = case.look()
    other = removal.split()[0] + " " + blob(NOBODYS)
    store = Meanwhile(Meanwhile(case.ledger.store, removal, lambda: case.commit(case.new, SAME)), other, stop)
    assert len(slices(found.found["stage_blobs"])) == 1
    with pytest.raises(OutOfReach):
        collect(Ledger(store), found, registered_grids(case.ledger.store))
    collect(case.ledger, case.look(), registered_grids(case.ledger.store))
    assert case.is_whole(case.new, SAME)


def test_what_is_taken_at_once_fits_in_memory_and_large_ones_count_little() -> None:
    sizes = [1 << 20] * 65 + [1 << 30] * 4
    entries = [Entry(Paths.blob(f"0{number:063x}"), size, 0.0) for number, size in enumerate(sizes)]
    assert [len(part) for part in slices([*entries, Entry(Paths.blob("f" * 64), 1, 0.0)])] == [64, 4, 1, 1]
    assert slices([]) == []


# --- verify ---


@pytest.mark.parametrize("content", [SAME, "other bytes"])
@pytest.mark.parametrize("spoil", [spoilt, Path.unlink], ids=["spoilt", "gone"])
def test_a_stage_that_was_repaired_after_the_look_stays(tmp_path: Path, spoil: Callable[[Path], object], content: str) -> None:
    case = BusyCase(tmp_path)
    spoil(case.path(blob(SAME)))

    def repair(fraction: float, words: str) -> None:
        if words.startswith(blob(SAME)) and words != f"{blob(SAME)}: whole":
            with pytest.raises(Corrupt, match="the stage is in quarantine"):
                case.ledger.read(case.ledger.manifest(*case.old.id), "out")  # type: ignore[arg-type]
            case.commit(case.old, content)

    taken = case.ledger.quarantine
    (problem,) = verify(case.ledger, repair=True, say=repair)
    assert (problem.key, problem.where) == (case.old.key, blob(SAME))
    assert case.is_whole(case.old, content)
    assert taken.taken == len([name for name in case.quarantined() if not name.endswith(".reason.json")])


def test_a_manifest_that_was_made_again_after_the_look_stays(tmp_path: Path) -> None:
    case = BusyCase(tmp_path)
    case.manifest_path(case.old).write_text("{")
    problems = verify(case.ledger, repair=True, say=lambda fraction, words: case.commit(case.old, SAME))
    assert [problem.key for problem in problems if problem.severity == "error"] == [case.old.key]
    assert case.is_whole(case.old, SAME)


def test_a_whole_blob_about_which_a_manifest_lies_stays(tmp_path: Path) -> None:
    case = BusyCase(tmp_path)
    manifest = case.commit(case.new, SAME)
    payloads = (manifest.payloads[0].model_copy(update={"size": 4}),)
    lying = manifest.model_copy(update={"payloads": payloads, "digest": digest_of(payloads)})
    case.manifest_path(case.new).write_bytes(lying.to_bytes())
    verify(case.ledger, repair=True)
    assert case.ledger.manifest(*case.new.id) is None
    assert case.is_whole(case.old, SAME)


# --- readers ---


@pytest.mark.parametrize("reader", ["fetch", "read"])
@pytest.mark.parametrize(
    ("spoil", "call"),
    [(spoilt, "size"), (spoilt, "move"), (Path.unlink, "size")],
    ids=["spoilt, before the last look", "spoilt, after the last look", "gone, before the last look"],
)
def test_a_slow_reader_leaves_what_was_made_again(tmp_path: Path, reader: str, spoil: Callable[[Path], object], call: str) -> None:
    case = BusyCase(tmp_path)
    manifest = case.ledger.manifest(*case.old.id)
    assert manifest is not None
    spoil(case.path(blob(SAME)))

    def first() -> None:
        with pytest.raises(Corrupt, match="the stage is in quarantine"):
            case.ledger.read(manifest, "out")
        case.commit(case.old, SAME, made={"host": "another"})

    slow = Ledger(Meanwhile(case.ledger.store, f"{call} {blob(SAME)}", first))
    if reader == "read":
        assert slow.read(manifest, "out") == SAME.encode()
    else:
        slow.fetch(manifest, case.tmp / "into")
        assert (case.tmp / "into" / "out").read_bytes() == SAME.encode()
    assert slow.quarantine.taken == 0
    assert case.is_whole(case.old, SAME)
    again = case.ledger.manifest(*case.old.id)
    assert again is not None
    assert again.made == {"host": "another"}


def test_a_blob_that_arrives_wrong_each_time_and_is_whole_stays(tmp_path: Path) -> None:
    case = BusyCase(tmp_path)
    manifest = case.ledger.manifest(*case.old.id)
    assert manifest is not None

    class BadWire(Meanwhile):
        def get(self, name: str):  # type: ignore[no-untyped-def]
            stored = super().get(name)
            return stored if name != blob(SAME) else type(stored)(b"garbled", stored.tag)

    with pytest.raises(Corrupt, match="is whole in the store and arrives wrong each time"):
        Ledger(BadWire(case.ledger.store, "", lambda: None)).read(manifest, "out")
    assert case.is_whole(case.old, SAME)


def test_only_the_make_that_was_meant_is_retired(tmp_path: Path) -> None:
    case = BusyCase(tmp_path)
    manifest = case.ledger.manifest(*case.old.id)
    assert manifest is not None
    case.ledger.retire(manifest, "for the test")
    again = case.commit(case.old, SAME, made={"host": "another"})
    case.ledger.retire(manifest, "by somebody slow")
    assert case.ledger.manifest(*case.old.id) == again
    assert case.ledger.quarantine.taken == 1


def test_a_manifest_that_is_made_again_in_the_last_moment_goes_back(tmp_path: Path) -> None:
    case = BusyCase(tmp_path)
    manifest = case.ledger.manifest(*case.old.id)
    assert manifest is not None

    def make_again() -> None:
        case.ledger.retire(manifest, "for the test")
        case.commit(case.old, SAME, made={"host": "another"})

    slow = Ledger(Meanwhile(case.ledger.store, f"move {Paths.manifest(*case.old.id)}", make_again))
    slow.retire(manifest, "by somebody slow")
    assert slow.quarantine.taken == 0
    assert case.is_whole(case.old, SAME)
