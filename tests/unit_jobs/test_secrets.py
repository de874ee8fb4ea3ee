"""Secrets that errors carry: out of what is recorded, told and mirrored."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.ledger.failures import Failure
from jobs.ledger.ledger import Ledger
from jobs.secrets import scrub
from jobs.store.folder import FolderStore
from jobs.tracker.location import bare, shown
from tests.s2l_process import Home

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


ODD = [
    *("pa/ss", "/", "/pa", "pa/", "p@ss", "@", "pa@/ss", "pa:ss", "p#ss", "1#2", "p%ss", "p%2Fss", "p?ss", "a/b@c:d#e%f?g"),
    *("p'ss", 'p"s/s', "12/34x"),
]


@pytest.mark.parametrize("password", ODD)
@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "mysql+pymysql", "http", "https"])
def test_an_odd_password_in_an_address_is_hidden_whole(scheme: str, password: str) -> None:
    address = f"{scheme}://ada:{password}@db.example:5432/x"
    clean = f"{scheme}://***@db.example:5432/x"
    assert scrub(address, {}) == clean
    assert scrub(f"cannot reach '{address}', refused; see {address}: gone", {}) == f"cannot reach '{clean}', refused; see {clean}: gone"
    assert shown(address) == f"{scheme}://ada:***@db.example:5432/x"
    if password != "pa@/ss" or not scheme.startswith("http"):  # on the web this is the password "pa" and the path "/ss@..."
        assert bare(address) == f"{scheme}://db.example:5432/x"


def test_a_database_address_is_read_to_the_at_sign_as_its_driver_reads_it() -> None:
    assert scrub("postgresql://ada:12/34@db/x", {}) == "postgresql://***@db/x"
    assert scrub("mssql+pyodbc://ada@server:pa/ss@db/x", {}) == "mssql+pyodbc://***@db/x"


@pytest.mark.parametrize(
    "address",
    [
        *("http://host:8080/a@b", "https://host/models/owner/name@0123abcd", "http://[::1]:5000/a@b", "http://[::1]/a@b"),
        *("s3://bucket/prefix/a:b@c", "sqlite:////data/a:b@c/mlflow.db", "http://user@host:8080/x", "http://host:5000/#/runs?x=a:b"),
        *("postgresql://db:5432/x", "http://127.0.0.1:8265", "file:///a/b:c@d"),
    ],
)
def test_an_address_without_credentials_stays_whole(address: str) -> None:
    assert scrub(f"see {address}, and b@example.org", {}) == f"see {address}, and b@example.org"


def test_no_command_prints_an_odd_password(tmp_path: Path) -> None:
    home, password = Home(tmp_path), "1/b@c:d#e%f?g"
    address = f"postgresql://ada:{password}@127.0.0.1:1/x"
    said = [
        home.run("doctor", "--tracking", address, "--json", check=(4,)),
        home.run("sync", "smoke", "--tracking", f"redis://ada:{password}@host/x", check=(2,)),
        home.run("status", "smoke", address, check=(2,)),
        home.run("status", address, check=(2,)),
    ]
    for done in said:
        assert f":{password}@" not in done.stdout + done.stderr
        assert "ada:***@" in done.stdout + done.stderr or "://***@" in done.stdout + done.stderr
