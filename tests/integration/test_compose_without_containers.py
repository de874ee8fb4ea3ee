"""The services of docker/compose.yaml, each by its own command on a host of its own, come up healthy, let nobody in, and run a grid."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose_bed import ROOT, Bed, bed, compose
from tests.namespaces import why_not
from tests.s2l_process import Home, chaos_grid

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
WORKERS = 2
PYTHON = str(ROOT / ".venv/bin/python")
MAKE_A_KEY = """\
from tests.services_world import MAKE_A_KEY, unasked
print(unasked("seaweedfs", 18333, MAKE_A_KEY))
"""
COUNT_RUNS = """\
from mlflow import MlflowClient
client = MlflowClient()
print(len(client.search_runs([client.get_experiment_by_name("s2l/chaos").experiment_id])))
"""


@pytest.fixture(scope="module")
def services() -> Iterator[Bed]:
    if reason := why_not():
        pytest.skip(reason)
    if not Path("/usr/lib/postgresql/15/bin/initdb").exists() or shutil.which("setpriv") is None:
        pytest.skip("no PostgreSQL here (Debian: postgresql)")
    with bed(WORKERS) as found:
        found.start("postgres", "postgres", found.make_database())
        found.start("seaweedfs", "seaweedfs")
        found.wait_until_healthy("postgres", "postgres")
        found.start("mlflow", "mlflow")
        found.start("head", "head")
        found.wait_until_healthy("seaweedfs", "seaweedfs")
        found.wait_until_healthy("mlflow", "mlflow")
        found.wait_until_healthy("head", "head")
        for number in range(1, WORKERS + 1):
            found.start(f"worker{number}", "worker")
        for number in range(1, WORKERS + 1):
            found.wait_until_healthy(f"worker{number}", "worker")
        yield found


def test_a_grid_run_in_the_head_ends_as_in_one_process_and_is_tracked(services: Bed, tmp_path: Path) -> None:
    home, grid = Home(tmp_path), chaos_grid(services.folder)
    home.run("run", str(grid), "--local", "--no-tracking")
    s2l = [PYTHON, "-c", "from jobs.cli import main; main()"]
    done = services.execute("head", *s2l, "run", str(grid), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = services.execute("head", *s2l, "results", str(grid), "--format", "json")
    assert shown.stdout.encode() == home.results(str(grid))
    services.execute("head", *s2l, "sync", str(grid))  # on a busy machine some of the mirror is still on its way
    tracked = services.execute("head", PYTHON, "-c", COUNT_RUNS)
    assert tracked.stdout.strip() == "7", f"{done.stderr}\n{tracked.stderr}"  # six trials and their parent


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1", "401"),
        ("http://seaweedfs:8333/s2l", "403"),
        ("http://head:8265/api/jobs/", "401"),
    ],
)
def test_what_listens_beyond_loopback_lets_nobody_in_without_credentials(services: Bed, url: str, code: str) -> None:
    words = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", url]
    assert services.execute("worker1", *words).stdout == code


def test_nobody_makes_a_key_to_the_store_without_its_certificate(services: Bed) -> None:
    asked = services.execute("worker1", PYTHON, "-c", MAKE_A_KEY)
    assert asked.stdout.strip() == "UNAVAILABLE", asked.stderr


def test_of_seaweedfs_only_s3_and_its_grpc_port_listen_beyond_loopback(services: Bed) -> None:
    beyond = {port for address, port, _ in services.hosts["seaweedfs"].listening() if not address.startswith("127.")}
    assert beyond == {8333, 18333}
    assert compose()["services"]["seaweedfs"]["ports"] == ["127.0.0.1:${S2L_S3_PORT:-8333}:8333"]  # the other is not published
