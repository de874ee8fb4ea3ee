"""A whole run with real services: no byte that it writes holds a secret, no command line does, and nothing is reached but the services."""

from __future__ import annotations

import base64
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.namespaces import needs_namespaces, network
from tests.packet_watch import NAMESERVER, watched
from tests.security_world import Ran, forms, found_in, wait_until_seen, whole_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def ran() -> Iterator[Ran]:
    with whole_run() as found:
        yield found


def test_no_file_but_the_credentials_own_holds_a_secret(ran: Ran) -> None:
    allowed = ran.home.credential_files()
    assert found_in(ran.home.folder, ran.secrets, sorted(allowed)) == set()
    held = {str(path.relative_to(ran.home.services)) for path in allowed if found_in(path.parent, ran.secrets) and path.exists()}
    assert held == {"env", "env.readonly", "s3/server.json", "s3/s3.json", "mlflow/mlflow-server.json", "ray/ray-head.json"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in allowed)


def test_the_search_saw_all_that_a_run_writes(ran: Ran) -> None:
    folder = ran.home.folder
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for part in ("raylet.out", "gcs_server.out", "worker-", "mlflow.db", ".dat", "server.log", "report.html"):
        assert [name for name in written if part in name], part
    for part in ("objects/failures/", "objects/manifests/", "objects/runs/", "objects/grids/", "kept/", "services/ray/", "hidden/"):
        assert [name for name in written if name.startswith(part)], part
    tables = sqlite3.connect(folder / "services" / "mlflow" / "mlflow.db")
    messages = tables.execute("select value from tags where key = 's2l.failure.message'").fetchall()
    tables.close()
    assert messages, "the failure that tells its secrets reached MLflow"
    (record,) = (folder / "objects" / "failures").rglob("*.json")
    said = [text for path in (folder / "said").glob("*-run") if "planted" in (text := path.read_text())]
    for text in (record.read_text(), messages[0][0], *said):
        assert "PLANTED" in text
        assert "***" in text


def test_no_command_line_holds_a_secret(ran: Ran) -> None:
    assert ran.told == set()


def test_nothing_is_reached_but_the_services_of_the_host(ran: Ran) -> None:
    if ran.watch is None:
        needs_namespaces()
    assert ran.watch is not None
    assert ran.watch.seen == set()


def test_the_watch_sees_who_tries_to_reach_somebody() -> None:
    needs_namespaces()
    code = """\
import contextlib, socket, urllib.request
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("198.51.100.7", 8125))
for url in ("http://192.0.2.1:81/", "http://usage.example.org/"):
    with contextlib.suppress(OSError):
        urllib.request.urlopen(url, timeout=2)
"""
    with network("lab") as hosts, watched(hosts["lab"]) as watch:
        assert hosts["lab"].run([sys.executable, "-W", "ignore", "-c", code]).returncode == 0
        wanted = {"198.51.100.7 udp 8125", "192.0.2.1 tcp 81", f"{NAMESERVER} udp 53 usage.example.org"}
        assert wait_until_seen(watch, wanted) == set()


def test_the_search_finds_a_secret_however_it_is_written(tmp_path: Path) -> None:
    secret = "wJalr/XUtnFEMI+K7MDENG"
    basic = [base64.b64encode(f"{user}:{secret}".encode()) for user in ("a", "ab", "abc")]
    written = [secret.encode(), b"x=wJalr%2FXUtnFEMI%2BK7MDENG&y", secret.encode().hex().encode(), *basic]
    for number, data in enumerate(written):
        (tmp_path / f"{number}").write_bytes(b"\0\xff" + data + b"\n")
    (tmp_path / "clean").write_bytes(b"wJalr/XUtnFEMI and nothing more")
    assert found_in(tmp_path, {"KEY": secret}) == {(f"{number}", "KEY") for number in range(len(written))}
    assert len(forms(secret)) == 6
