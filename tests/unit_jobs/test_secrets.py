"""Secrets that errors carry: out of what is recorded, told and mirrored."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.ledger.failures import Failure
from jobs.ledger.ledger import Ledger
from jobs.secrets import scrub
from jobs.store.folder import FolderStore

PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "wJalr/XUtnFEMI+K7MDENG",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdzEBY",
    "MLFLOW_TRACKING_PASSWORD": "mlflow-pass-1",
    "MLFLOW_TRACKING_TOKEN": "mlflow-token-2",
    "RAY_AUTH_TOKEN": "0a1b2c3d4e5f",
    "HF_TOKEN": "hf_planted_value",
    "S2L_ENCRYPTION_KEY": "cGxhbnRlZC1rZXktb2YtMzItYnl0ZXMtYWFhYWFhYWE=",
    "PGPASSWORD": "database-secret",
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_value_of_a_secret_variable_is_hidden_as_it_stands_and_in_an_address(name: str) -> None:
    value = PLANTED[name]
    assert scrub(f"cannot use {value} here", PLANTED) == "cannot use *** here"
    quoted = value.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
    assert quoted not in scrub(f"GET http://host/?key={quoted}&x=1", PLANTED)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://ada:pass-word@db:5432/x refused", "postgresql://***@db:5432/x refused"),
        ("http://:only-password@host", "http://***@host"),
        ("http://user@host is fine", "http://user@host is fine"),
        ("s3://bucket/prefix?X-Amz-Signature=abcdef&a=1", "s3://bucket/prefix?X-Amz-Signature=***&a=1"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer ***"),
        ("see http://host:8080/a and b@example.org", "see http://host:8080/a and b@example.org"),
    ],
)
def test_credentials_in_addresses_are_hidden_whatever_the_environment(text: str, clean: str) -> None:
    assert scrub(text, {}) == clean


def test_what_is_no_secret_stays() -> None:
    environment = {
        "S2L_STORE": "/data/store-one",
        "RAY_AUTH_TOKEN_PATH": "/etc/ray/token-file",
        "TOKENIZERS_PARALLELISM": "falsely",
        "X_KEY": "no",
    }
    text = "store /data/store-one, /etc/ray/token-file, falsely, no"
    assert scrub(text, environment) == text


def test_of_two_secrets_the_longer_is_hidden_whole() -> None:
    assert scrub("abcdefgh-and-more", {"A_TOKEN": "abcdefgh", "B_TOKEN": "abcdefgh-and-more"}) == "***"


def test_no_failure_record_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    ledger = Ledger(FolderStore(tmp_path))
    told = " ".join(PLANTED.values())
    ledger.record_failure(Failure(kind="sp", key="ab" * 32, error_class="unknown", message=told, traceback=f"raise {told}"))
    (record,) = (tmp_path / "failures").rglob("*.json")
    assert [value for value in PLANTED.values() if value in record.read_text()] == []
    (failure,) = ledger.failures()
    assert failure.message == " ".join(["***"] * len(PLANTED))
