"""The store and the ledger on a real S3 server: SeaweedFS on loopback."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.services import seaweedfs
from cluster.services.seaweedfs import SeaweedFS
from jobs.errors import AlreadyExists, Corrupt, NotFound, OutOfReach
from jobs.ledger.leases import Leases
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.ledger.verify import verify
from jobs.store.open import open_bare, open_store
from jobs.store.protocol import ObjectStore
from tests.ledger_cases import chain, leave
from tests.store_contract import StoreContract

AWS = ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_MAX_ATTEMPTS")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    running = seaweedfs.start(tmp_path_factory.mktemp("seaweedfs"), buckets=["s2l-test"])
    yield running
    seaweedfs.stop(running, at_once=True)


@pytest.fixture
def aws(server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> SeaweedFS:
    """The server's address and credentials in the environment, as a user has them."""
    for name in AWS:
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def store(aws: SeaweedFS) -> ObjectStore:
    """A fresh prefix."""
    return open_store(f"s3://s2l-test/{uuid.uuid4().hex}/nested")


class TestSeaweedFS(StoreContract):
    pass


def test_a_listing_of_more_than_a_page_is_whole(store: ObjectStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.create(f"many/{number}", b""), range(1050)))
    assert len(set(store.list("many/"))) == 1050


def test_two_prefixes_of_a_bucket_are_two_stores(aws: SeaweedFS) -> None:
    name = uuid.uuid4().hex
    open_store(f"s3://s2l-test/{name}").create("a", b"1")
    assert list(open_store(f"s3://s2l-test/{name}x").list("")) == []
    assert [entry.name for entry in open_store("s3://s2l-test").list(f"{name}/")] == [f"{name}/a"]


# --- what goes wrong on the way ---


def test_a_missing_bucket_is_said_by_every_first_call(aws: SeaweedFS) -> None:
    calls: list[Callable[[ObjectStore], object]] = [
        lambda store: store.size("a"),
        lambda store: store.get("a"),
        lambda store: list(store.list("")),
    ]
    for call in calls:
        with pytest.raises(OutOfReach, match="the bucket does not exist: check its name"):
            call(open_store("s3://no-such-bucket/x"))


@pytest.mark.parametrize(
    ("variable", "hint"),
    [("AWS_ACCESS_KEY_ID", "the server does not know AWS_ACCESS_KEY_ID"), ("AWS_SECRET_ACCESS_KEY", "does not fit AWS_ACCESS_KEY_ID")],
)
def test_wrong_credentials_are_named_and_not_shown(aws: SeaweedFS, monkeypatch: pytest.MonkeyPatch, variable: str, hint: str) -> None:
    monkeypatch.setenv(variable, "WRONG")
    with pytest.raises(OutOfReach, match=hint) as caught:
        open_store("s3://s2l-test/x").get("a")
    assert aws.secret_key not in str(caught.value)


def test_missing_credentials_are_said(aws: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(OutOfReach, match="no complete credentials; set AWS_ACCESS_KEY_ID"):
        open_store("s3://s2l-test/x").get("a")


def test_a_server_that_is_not_there_is_said(aws: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(OutOfReach, match=r"does not answer .* check AWS_ENDPOINT_URL_S3"):
        open_store("s3://s2l-test/x").create("a", b"")


class Wire:
    """A stretch of network before the server that cuts the first connection after so many bytes of the answer."""

    def __init__(self, to: int, cut_after: int) -> None:
        self._to = to
        self._cut_after: int | None = cut_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            cut, self._cut_after = self._cut_after, None
            threading.Thread(target=self._pump, args=(near, far, None), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, cut), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, cut: int | None) -> None:
        passed = 0
        with source, target:
            try:
                while data := source.recv(65536):
                    if data.startswith(b"HTTP/1.1 100"):  # "go on", before the request's body was even sent
                        target.sendall(data)
                        continue
                    if cut is not None and passed + len(data) > cut:
                        target.sendall(data[: cut - passed])
                        self.cuts += 1
                        source.shutdown(socket.SHUT_RDWR)
                        target.shutdown(socket.SHUT_RDWR)
                        return
                    target.sendall(data)
                    passed += len(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                return


@pytest.fixture
def wire(aws: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Wire]]:
    wires: list[Wire] = []

    def lay(cut_after: int) -> Wire:
        wires.append(Wire(aws.ports[3], cut_after))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", wires[-1].endpoint)
        return wires[-1]

    yield lay
    for laid in wires:
        laid.close()


def test_a_create_whose_answer_was_lost_knows_that_it_has_won(store: ObjectStore, wire: Callable[[int], Wire]) -> None:
    laid = wire(0)
    tag = open_bare(store.url).create("a", b"mine")
    assert laid.cuts == 1
    assert store.get("a").tag == tag


def test_a_create_whose_question_met_anothers_object_still_loses(store: ObjectStore, wire: Callable[[int], Wire]) -> None:
    store.create("a", b"theirs")
    laid = wire(0)
    with pytest.raises(AlreadyExists):
        open_bare(store.url).create("a", b"mine")
    assert laid.cuts == 1


def test_a_replace_whose_answer_was_lost_knows_that_it_has_won(store: ObjectStore, wire: Callable[[int], Wire]) -> None:
    old = store.create("a", b"1")
    laid = wire(0)
    tag = open_bare(store.url).replace("a", b"2", old)
    assert laid.cuts == 1
    assert store.get("a") == type(store.get("a"))(b"2", tag)


def test_a_download_that_breaks_goes_on_where_it_broke(store: ObjectStore, wire: Callable[[int], Wire], tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(6_000_000))
    store.put_file("large", tmp_path / "large")
    laid = wire(3_000_000)
    assert b"".join(open_bare(store.url).chunks("large")) == (tmp_path / "large").read_bytes()
    assert laid.cuts == 1


def test_a_download_of_an_object_that_changed_meanwhile_is_not_glued_together(
    store: ObjectStore, wire: Callable[[int], Wire], tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(os.urandom(6_000_000))
    store.put_file("large", tmp_path / "large")
    wire(3_000_000)
    chunks = open_bare(store.url).chunks("large")
    next(chunks)
    (tmp_path / "other").write_bytes(os.urandom(6_000_000))
    store.put_file("large", tmp_path / "other")
    with pytest.raises(NotFound, match="changed while it was read"):
        list(chunks)


# --- the ledger on it ---


def test_a_stage_lives_through_commit_corruption_and_a_second_make(store: ObjectStore, tmp_path: Path) -> None:
    notices: list[str] = []
    ledger, data = Ledger(store, notice=notices.append), chain()[0]
    manifest = ledger.commit(data, leave(tmp_path, "out", {"images.parquet": b"images"}), parents={}, made={})
    assert ledger.committed("data") == {data.key}
    assert ledger.commit(data, leave(tmp_path, "other", {"images.parquet": b"other"}), parents={}, made={}) == manifest
    assert "another writer" in notices[0]
    (tmp_path / "flipped").write_bytes(b"imaGes")
    store.put_file(Paths.blob(manifest.payloads[0].sha256), tmp_path / "flipped")
    assert [(problem.kind, problem.key) for problem in verify(ledger) if problem.severity == "error"] == [("data", data.key)]
    with pytest.raises(Corrupt, match=rf"data {data.key}: payload 'images\.parquet'"):
        ledger.fetch(manifest, tmp_path / "into")
    assert ledger.committed("data") == set()
    assert ledger.commit(data, tmp_path / "out", parents={}, made={}).digest == manifest.digest
    ledger.fetch(manifest, tmp_path / "into")
    assert (tmp_path / "into" / "images.parquet").read_bytes() == b"images"


def test_progress_and_leases_are_fenced(store: ObjectStore, tmp_path: Path) -> None:
    now = [0.0]
    ours, theirs = Leases(store), Leases(store, ttl=10.0, clock=lambda: now[0])
    first = ours.take("ab")
    assert first is not None
    assert theirs.take("ab") is None
    now[0] = 11.0
    second = theirs.take("ab")
    assert second is not None
    assert second.number > first.number
    ledger = Ledger(store)
    ledger.progress("ab", first.number).save(leave(tmp_path, "one", {"weights": b"1", "deep/step": b"10"}))
    assert ledger.progress("ab", second.number).load(tmp_path / "two")
    assert (tmp_path / "two" / "deep" / "step").read_bytes() == b"10"
    ours.release(first)
    assert theirs.renew(second).number == second.number


# --- the service itself ---


def test_what_was_acknowledged_survives_a_crash_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = seaweedfs.start(tmp_path / "weed", buckets=["crash"])
    try:
        assert seaweedfs.start(tmp_path / "weed") == server  # running already
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        store = open_store("s3://crash")
        for number in range(50):
            store.create(f"n/{number}", str(number).encode())
        seaweedfs.stop(server, at_once=True)
        assert not server.is_healthy()
        again = seaweedfs.start(tmp_path / "weed", buckets=["crash"])
        assert (again.access_key, again.secret_key, again.ports) == (server.access_key, server.secret_key, server.ports)
        assert {entry.name: store.get(entry.name).data for entry in store.list("n/")} == {f"n/{n}": str(n).encode() for n in range(50)}
    finally:
        seaweedfs.stop(seaweedfs.find(tmp_path / "weed") or server, at_once=True)


def test_the_server_listens_on_loopback_alone_and_keeps_its_credentials_private(server: SeaweedFS) -> None:
    folder = Path(server.folder)
    assert all((folder / name).stat().st_mode & 0o077 == 0 for name in ("s3.json", "server.json"))
    assert server.secret_key.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    assert _listening(server.pid) == {"0100007F"}


def _listening(pid: int) -> set[str]:
    """Addresses, as the kernel writes them, that a process listens on."""
    links = (os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink())
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}
