"""S3 by the usual AWS settings: profiles, roles' commands, server-side encryption, and the least that a key must be allowed."""

from __future__ import annotations

import json
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from cluster.services import seaweedfs
from cluster.services.seaweedfs import Keys, SeaweedFS
from jobs.errors import InputError, OutOfReach
from jobs.ledger.leases import Leases
from jobs.ledger.ledger import Ledger
from jobs.ledger.verify import verify
from jobs.store.open import open_store
from jobs.store.probe import probe
from jobs.store.protocol import ObjectStore
from tests.ledger_cases import chain, leave

BUCKET, OTHER = "s2l-bucket", "other-bucket"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "services.md"
LARGE = b"a large object, in parts " * 500_000


def documented(who: str) -> dict[str, Any]:
    """The policy of docs/services.md for the writer or the reader."""
    found = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    (policy,) = [policy for policy in found if policy.get("Id") == f"s2l-{who}"]
    return json.loads(json.dumps(policy).replace("BUCKET", BUCKET))  # type: ignore[no-any-return]


def identities(keys: Keys) -> str:
    """Two keys that may do what the documented policies say, and nothing else."""
    who = (("writer", keys.access, keys.secret), ("reader", keys.reader_access, keys.reader_secret))
    return json.dumps(
        {
            "identities": [
                {"name": name, "credentials": [{"accessKey": access, "secretKey": secret}], "policyNames": [name]}
                for name, access, secret in who
            ],
            "policies": [{"name": name, "content": json.dumps(documented(name))} for name, _, _ in who],
        }
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seaweedfs, "_identities", identities)
        running = seaweedfs.start(tmp_path_factory.mktemp("weed"), buckets=[BUCKET, OTHER])
    yield running
    seaweedfs.stop(running, at_once=True)


Becoming = Callable[..., ObjectStore]


@pytest.fixture
def become(server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Becoming:
    """A store seen with the writer's or the reader's key."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "S2L_S3_"))]:
        monkeypatch.delenv(name)

    def seen(reader: bool = False, url: str = f"s3://{BUCKET}/{uuid.uuid4().hex}") -> ObjectStore:
        for name, value in server.environment(reader=reader).items():
            monkeypatch.setenv(name, value)
        return open_store(url)

    return seen


# --- the least that a key must be allowed ---


def test_the_documented_policies_name_every_action_and_no_more_than_one_bucket() -> None:
    for who in ("writer", "reader"):
        for statement in documented(who)["Statement"]:
            assert not [action for action in statement["Action"] if "*" in action]
            assert all(resource.startswith(f"arn:aws:s3:::{BUCKET}") for resource in statement["Resource"])


def test_a_writer_by_the_documented_policy_can_do_all_that_a_run_does(become: Becoming, tmp_path: Path) -> None:
    store = become()
    probe(store)
    (tmp_path / "large").write_bytes(LARGE)
    store.put_file("large", tmp_path / "large")
    store.move("large", "quarantine/large")
    assert b"".join(store.chunks("quarantine/large")) == LARGE
    store.delete("quarantine/large")
    leases = Leases(store)
    lease = leases.take("ab")
    assert lease is not None
    leases.release(leases.renew(lease))
    ledger, data = Ledger(store), chain()[0]
    ledger.commit(data, leave(tmp_path, "out", {"images.parquet": b"images"}), parents={}, made={})
    assert verify(ledger, repair=True) == []


def test_a_reader_reads_what_the_writer_wrote_and_is_refused_every_write(become: Becoming, tmp_path: Path) -> None:
    writer = become()
    ledger, data = Ledger(writer), chain()[0]
    manifest = ledger.commit(data, leave(tmp_path, "out", {"images.parquet": b"images"}), parents={}, made={})
    writer.create("mine", b"1")
    tag = writer.get("mine").tag
    reader = become(reader=True, url=writer.url)
    looking = Ledger(reader, look_only=True)
    assert looking.committed("data") == {data.key}
    assert verify(looking) == []
    looking.fetch(manifest, tmp_path / "into")
    writes: list[Callable[[], object]] = [
        lambda: reader.create("new", b""),
        lambda: reader.replace("mine", b"2", tag),
        lambda: reader.put_file("new", tmp_path / "out" / "images.parquet"),
        lambda: reader.move("mine", "yours"),
        lambda: reader.delete("mine"),
        lambda: Leases(reader).take("ab"),
        lambda: probe(reader),
    ]
    for write in writes:
        with pytest.raises(OutOfReach, match=r"AccessDenied; these credentials may not do that.* enough for plan, status"):
            write()
    assert become(url=writer.url).get("mine").data == b"1"


@pytest.mark.parametrize("reader", [False, True])
def test_neither_key_reaches_another_bucket(become: Becoming, reader: bool) -> None:
    store = become(reader=reader, url=f"s3://{OTHER}/x")
    for call in (lambda: list(store.list("")), lambda: store.size("a"), lambda: store.create("a", b"")):
        with pytest.raises(OutOfReach, match=r"AccessDenied|403"):
            call()


# --- profiles and roles ---


def profile_with(server: SeaweedFS, monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    """No AWS variable but those that name a profile, which names everything else."""
    config = [
        "[profile lab]",
        "region = us-east-1",
        "services = lab",
        *lines,
        "[services lab]",
        "s3 =",
        f"  endpoint_url = {server.endpoint}",
    ]
    (folder / "config").write_text("\n".join(config) + "\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")


@pytest.mark.usefixtures("become")
def test_a_profile_gives_endpoint_region_and_keys(server: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profile_with(server, monkeypatch, tmp_path)
    (tmp_path / "credentials").write_text(f"[lab]\naws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n")
    probe(open_store(f"s3://{BUCKET}/profile"))


@pytest.mark.usefixtures("become")
def test_a_command_that_gives_passing_keys_as_roles_do_is_asked(server: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = {"Version": 1, "AccessKeyId": server.access_key, "SecretAccessKey": server.secret_key}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    profile_with(server, monkeypatch, tmp_path, f"credential_process = {sys.executable} -c \"print(open('{tmp_path}/keys.json').read())\"")
    probe(open_store(f"s3://{BUCKET}/role"))


def test_a_profile_that_is_not_there_is_bad_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(InputError, match=r"no-such-profile.*check AWS_PROFILE"):
        open_store(f"s3://{BUCKET}/x")


# --- server-side encryption ---


def stored_encrypted(store: ObjectStore, name: str) -> str | None:
    prefix = store.url.removeprefix(f"s3://{BUCKET}/")
    client: Any = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"])
    head = client.head_object(Bucket=BUCKET, Key=f"{prefix}/{name}")
    return head.get("ServerSideEncryption")  # type: ignore[no-any-return]


def on_disk(server: SeaweedFS, marker: bytes) -> bool:
    return any(marker in path.read_bytes() for path in Path(server.folder, "data").rglob("*") if path.is_file())


def test_what_is_written_is_encrypted_on_the_servers_disk_when_asked(
    become: Becoming, server: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain, secret = os.urandom(3000), os.urandom(3000)
    store = become()
    store.create("plain", plain)
    assert stored_encrypted(store, "plain") is None
    assert on_disk(server, plain[1000:1100])
    monkeypatch.setenv("S2L_S3_SSE", "AES256")
    store = become(url=store.url)
    tag = store.create("created", secret)
    store.replace("created", secret[::-1], tag)
    (tmp_path / "file").write_bytes(secret)
    store.put_file("file", tmp_path / "file")
    (tmp_path / "large").write_bytes(LARGE)
    store.put_file("large", tmp_path / "large")
    store.move("plain", "moved")
    assert {name: stored_encrypted(store, name) for name in ("created", "file", "large", "moved")} == dict.fromkeys(
        ("created", "file", "large", "moved"), "AES256"
    )
    assert not on_disk(server, secret[1000:1100])
    assert store.get("created").data == secret[::-1]
    assert b"".join(store.chunks("large")) == LARGE
    assert store.get("moved").data == plain
    probe(store)


@pytest.mark.parametrize(
    ("kind", "key", "said"),
    [("aes", "", "S2L_S3_SSE is 'aes'; expected AES256 or aws:kms"), ("AES256", "key", "a key of KMS goes with aws:kms")],
)
def test_an_encryption_that_does_not_exist_is_bad_input(
    become: Becoming, monkeypatch: pytest.MonkeyPatch, kind: str, key: str, said: str
) -> None:
    monkeypatch.setenv("S2L_S3_SSE", kind)
    monkeypatch.setenv("S2L_S3_SSE_KMS_KEY_ID", key)
    with pytest.raises(InputError, match=said):
        become()


class SentError(Exception):
    """Carries a request's headers instead of sending it."""


def test_a_key_of_kms_is_sent_with_every_write(become: Becoming, monkeypatch: pytest.MonkeyPatch) -> None:
    """SeaweedFS has no KMS: what would be sent is looked at, not what comes of it."""
    monkeypatch.setenv("S2L_S3_SSE", "aws:kms")
    monkeypatch.setenv("S2L_S3_SSE_KMS_KEY_ID", "key-1")

    def send(request: Any, **_: object) -> None:
        raise SentError(dict(request.headers))

    store: Any = become()
    store._client.meta.events.register("before-send.s3.PutObject", send)
    with pytest.raises(SentError) as caught:
        store.create("a", b"1")
    names = ("x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id")
    values = [caught.value.args[0][name] for name in names]
    assert [value.decode() if isinstance(value, bytes) else value for value in values] == ["aws:kms", "key-1"]
