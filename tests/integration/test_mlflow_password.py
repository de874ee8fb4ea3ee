"""A server that asks for a password answers as quickly as one that does not."""

from __future__ import annotations

import base64
import time
import urllib.request
from pathlib import Path

import psutil
from werkzeug.security import check_password_hash, generate_password_hash

from cluster.services import mlflow as service

REQUESTS = 20


def test_a_password_that_was_right_is_not_hashed_anew_at_every_request(tmp_path: Path) -> None:
    """Hashing it takes longer than anything else that a request does, and a grid makes seven requests a trial. Held in CPU time."""
    server = service.start(tmp_path / "server", auth=True)
    try:
        _ask(server)
        before = _cpu_s(server.pid)
        for _ in range(REQUESTS):
            _ask(server)
        spent = _cpu_s(server.pid) - before
    finally:
        service.stop(server, at_once=True)
    assert spent < REQUESTS * _hashing_s() / 2


def _ask(server: service.MlflowServer) -> None:
    login = base64.b64encode(f"admin:{server.password}".encode()).decode()
    url = f"{server.uri}/api/2.0/mlflow/experiments/get?experiment_id=0"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Basic {login}"}), timeout=30) as answer:
        assert answer.status == 200


def _cpu_s(pid: int) -> float:
    """Of the server and all its processes."""
    server = psutil.Process(pid)
    return sum(sum(process.cpu_times()[:2]) for process in [server, *server.children(recursive=True)])


def _hashing_s() -> float:
    """What one hash of a password as MLflow keeps it takes."""
    kept = generate_password_hash("a password")
    began = time.process_time()
    for _ in range(5):
        check_password_hash(kept, "a password")
    return (time.process_time() - began) / 5
