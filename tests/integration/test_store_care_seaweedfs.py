"""Collecting garbage in a real bucket, and an encrypted store in one."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.services import seaweedfs
from cluster.services.seaweedfs import SeaweedFS
from jobs.errors import NotFound
from jobs.ledger.collect import collect
from jobs.ledger.garbage import DAY_S, garbage
from jobs.ledger.leases import Leases
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.ledger.verify import verify
from jobs.store.key import new_key
from jobs.store.open import open_bare, open_store
from jobs.store.probe import clock_of
from jobs.store.protocol import KeepsUnfinished, ObjectStore
from tests.chaos.proxy import Proxy, Weather
from tests.failing_store import Meanwhile
from tests.ledger_cases import blind, chain, leave
from tests.s2l_process import wait_for
from tests.store_contract import StoreContract


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    running = seaweedfs.start(tmp_path_factory.mktemp("seaweedfs"), buckets=["s2l-care"])
    yield running
    seaweedfs.stop(running, at_once=True)


@pytest.fixture
def url(server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh prefix; address and credentials are in the environment."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://s2l-care/{uuid.uuid4().hex}"


@pytest.fixture
def store(url: str) -> ObjectStore:
    return open_store(url)


@pytest.fixture
def client(url: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client("s3", config=Config(s3={"addressing_style": "path"}))


class TestEncryptedBucket(StoreContract):
    """But for what has nothing to do with the bucket, and what takes long and is said of an encrypted folder and a plain bucket."""

    test_a_name_that_could_leave_the_store_is_refused = None  # type: ignore[assignment]
    test_of_many_processes_one_creates_and_no_count_is_lost = None  # type: ignore[assignment]

    @pytest.fixture
    def store(self, url: str, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
        monkeypatch.setenv("S2L_ENCRYPTION_KEY", new_key())
        return open_store(url)


def orphaned(client: Any, url: str, name: str) -> str:
    """A multipart upload with one part, never completed; its id."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    upload = str(client.create_multipart_upload(Bucket=bucket, Key=f"{prefix}/{name}")["UploadId"])
    client.upload_part(Bucket=bucket, Key=f"{prefix}/{name}", UploadId=upload, PartNumber=1, Body=os.urandom(5 * 1024 * 1024))
    return upload


def test_orphaned_uploads_of_this_prefix_are_found_and_aborted_when_they_are_old(store: ObjectStore, client: Any, url: str) -> None:
    ours = orphaned(client, url, "blobs/aa/orphan")
    theirs = orphaned(client, f"{url}x", "blobs/aa/orphan")
    ledger, now = Ledger(store), clock_of(store)
    assert garbage(ledger, frozenset(), now=now).unfinished == []
    found = garbage(ledger, frozenset(), now=now + 2 * DAY_S)
    assert [(one.name, one.id, one.size) for one in found.unfinished] == [("blobs/aa/orphan", ours, 5 * 1024 * 1024)]
    collect(ledger, found, [])
    assert isinstance(store, KeepsUnfinished)
    assert list(store.unfinished()) == []
    store.abandon(found.unfinished[0])
    bucket = url.removeprefix("s3://").partition("/")[0]
    left = {upload["UploadId"] for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())}
    assert theirs in left
    assert ours not in left


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_a_bucket_is_collected_and_what_stays_is_whole(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, encrypted: bool
) -> None:
    if encrypted:
        monkeypatch.setenv("S2L_ENCRYPTION_KEY", new_key())
    ledger, (data, _, _) = Ledger(open_store(url)), chain()
    manifest = ledger.commit(data, leave(tmp_path, "data", {"images.parquet": b"images"}), parents={}, made={})
    for seed in range(3):
        out = leave(tmp_path, f"blind-{seed}", {"blind.json": str(seed).encode()})
        ledger.commit(blind(seed, data), out, parents={data.key: manifest}, made={})
    ledger.store.put_file(Paths.blob("ab" * 32), tmp_path / "data" / "images.parquet")
    ledger.leases.take("b" * 64)
    now = clock_of(ledger.store)
    assert sum(objects for objects, _ in garbage(ledger, {data.key}, now=now).sums().values()) == 0
    found = garbage(ledger, {data.key}, now=now + 2 * DAY_S)
    sums = found.sums()
    assert [sums[category][0] for category in ("stages", "stage_blobs", "orphan_blobs", "leases")] == [3, 3, 1, 1]
    assert sums["stage_blobs"] == (3, 3)
    collect(ledger, found, [])
    assert {entry.name for entry in ledger.store.list("")} == {Paths.manifest(*data.id), Paths.blob(manifest.payloads[0].sha256)}
    assert verify(ledger) == []
    assert ("encryption.json" in {entry.name for entry in open_bare(url).list("")}) == encrypted


def test_a_large_file_that_a_commit_relied_on_while_it_went_is_put_back(store: ObjectStore, tmp_path: Path) -> None:
    """In parts, as a bucket takes it: its tag is no digest of its bytes."""
    ledger, (data, _, _) = Ledger(store), chain()
    made = {
        "parents": {data.key: ledger.commit(data, leave(tmp_path, "data", {"images.parquet": b"images"}), parents={}, made={})},
        "made": {},
    }
    files = [leave(tmp_path, f"blind-{seed}", {"large.bin": os.urandom(9 * 1024 * 1024)}) for seed in range(2)]
    first, _ = [ledger.commit(blind(seed, data), folder, **made) for seed, folder in enumerate(files)]  # type: ignore[arg-type]
    found, name = garbage(ledger, {data.key}, now=clock_of(store) + 2 * DAY_S), Paths.blob(first.payloads[0].sha256)
    assert found.sums()["stage_blobs"] == (2, 18 * 1024 * 1024)
    meanwhile = Meanwhile(store, f"move {name}", lambda: ledger.commit(blind(2, data), files[0], **made))  # type: ignore[arg-type]
    collect(Ledger(meanwhile), found, [])
    assert [entry.name for entry in store.list("blobs/") if entry.size > 100] == [name]
    assert list(store.list("quarantine/")) == []
    assert verify(ledger) == []


def test_what_is_written_over_while_it_moves_stays(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = open_bare(url)
    store.create("a", b"old")
    copy = store._client.copy

    def copy_and_write_over(*asked: Any, **more: Any) -> None:
        copy(*asked, **more)
        store.put_file("a", leave(tmp_path, "files", {"f": b"new"}) / "f")

    monkeypatch.setattr(store._client, "copy", copy_and_write_over)
    with pytest.raises(NotFound, match="was written over while it was moved"):
        store.move("a", "q/a/1")
    assert [entry.name for entry in store.list("")] == ["a"]
    assert store.get("a").data == b"new"


def test_what_a_bucket_dates_is_told_by_its_own_clock(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock is a year ahead takes nothing for old: ages are differences of the store's own times."""
    import time

    store.create("probe/left", b"1")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 365 * DAY_S)
    assert clock_of(store) - real() < 3600
    assert garbage(Ledger(store), frozenset(), now=clock_of(store)).found["probe"] == []


# --- outages that the client outlasts ---


@pytest.mark.timeout(300)
@pytest.mark.parametrize("storm", [Weather(share=1.0, code="SlowDown"), Weather(delay_s=14.0)], ids=["503 SlowDown", "no answer"])
def test_a_living_holder_s_lease_outlasts_an_outage_that_only_the_client_knows_of(
    server: SeaweedFS, url: str, storm: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder could not renew it for longer than it lasts, and has not done so yet when the other looks again."""
    proxy = Proxy(server.ports[3])
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    holder, other = Leases(open_store(url), ttl=12.0), Leases(open_store(url), ttl=12.0)
    assert holder.take("ab") is not None
    assert other.take("ab") is None
    proxy.turn(storm)
    over = threading.Timer(1.0 if storm.delay_s else 14.0, lambda: proxy.clear(storm))
    over.start()
    began = time.monotonic()
    try:
        assert other.take("ab") is None, "a living lease was taken over"
        assert time.monotonic() - began > 12.0, "nobody was told that the store was away"
        assert over.finished.is_set()
        assert wait_for(lambda: other.take("ab") is not None, "the end of a holder that stays silent", timeout=60)
    finally:
        over.cancel()
        proxy.close()
