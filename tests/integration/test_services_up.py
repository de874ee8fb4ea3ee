"""`s2l up` and `s2l down` with the real parts: a grid runs on them, parts die and come back, nothing else is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.services.ports import GRPC, is_loopback
from tests.services_world import MAKE_A_KEY, ServicesHome, listening, own_address, processes_of, read, services_home, unasked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

POSTGRES = bool(list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))


@pytest.fixture
def home() -> Iterator[ServicesHome]:
    with services_home() as found:
        yield found


def status(url: str, headers: dict[str, str] | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


RAY_CALLS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.ReporterService/HealthCheck",
    "/ray.rpc.RayletDriver/ClusterInfo",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
)


def refuses_strangers(host: str, port: int) -> bool:
    """True when the one of Ray's services that answers at the port, whichever it is, asks for the token."""
    codes = {unasked(host, port, call) for call in RAY_CALLS}
    if codes == {"UNAVAILABLE"}:  # no gRPC there
        return status(f"http://{host}:{port}/api/jobs/") == 401
    return codes <= {"UNAUTHENTICATED", "UNIMPLEMENTED"} and "UNAUTHENTICATED" in codes


def pids(services: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {name: service["pid"] for name, service in services.items()}


def mirrored_runs(variables: dict[str, str]) -> int:
    """How many runs MLflow shows, to a client that has these variables alone."""
    code = (
        "import mlflow; c = mlflow.MlflowClient()\n"
        "print(len(c.search_runs([e.experiment_id for e in c.search_experiments()], max_results=100)))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")} | variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not POSTGRES, reason="PostgreSQL is not installed (apt-get install postgresql)")
def test_services_live_through_a_grid_a_second_start_a_crash_and_a_stop(home: ServicesHome) -> None:
    with subprocess.Popen(["sleep", "3600"]) as bystander:
        try:
            _life(home)
            assert bystander.poll() is None
        finally:
            bystander.kill()


def _life(home: ServicesHome) -> None:
    grid = home.grid()
    assert set(home.up("--auth", "--postgres", "--without", "ray")) == {"s3", "postgres", "mlflow"}
    assert "RAY_ADDRESS" not in read(home.services / "env")
    first = home.up()
    assert {name: service["state"] for name, service in first.items()} == {
        "s3": "running",
        "postgres": "running",
        "mlflow": "running",
        "ray": "started",
    }
    variables = read(home.services / "env")
    _closed_to_strangers(home, first, variables)

    home.sourced = "env"
    assert home.json("run", grid)["trials"] == {"done": 1, "failed": 0, "blocked": 0}
    assert mirrored_runs(variables) == 2, "the grid's run and its trial's"
    _readers_read(home, grid)
    _doctor_is_content(home)

    assert pids(home.up()) == pids(first), "what runs stays as it is"
    for name in ("s3", "postgres"):
        os.kill(first[name]["pid"], signal.SIGKILL)
    (raylet,) = [child for child in psutil.Process(first["ray"]["pid"]).children() if child.name() == "raylet"]
    raylet.kill()
    again = home.up()
    assert {name: service["state"] for name, service in again.items()} == {
        "s3": "restarted",
        "postgres": "restarted",
        "mlflow": "running",
        "ray": "restarted",
    }
    assert read(home.services / "env") == variables, "addresses and credentials are those of before"
    assert home.json("run", grid)["stages"]["ran"] == 0, "the store kept all that was committed"
    assert mirrored_runs(variables) == 2, "and so did MLflow"

    everything = processes_of(list(pids(again).values()))
    assert set(home.down()["stopped"]) == {"s3", "postgres", "mlflow", "ray"}
    _, alive = psutil.wait_procs(everything, timeout=30)
    assert not alive
    assert home.down() == {"folder": str(home.services), "stopped": [], "not_running": ["ray", "mlflow", "postgres", "s3"]}


def _closed_to_strangers(home: ServicesHome, services: dict[str, dict[str, Any]], variables: dict[str, str]) -> None:
    addresses = {address for address, _ in listening(processes_of(list(pids(services).values())))}
    assert addresses
    assert all(is_loopback(address) or address == "::1" for address in addresses), addresses
    assert status(variables["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/experiments/search?max_results=1") == 401
    assert status(variables["RAY_API_SERVER_ADDRESS"] + "/api/jobs/") == 401
    token = {"Authorization": f"Bearer {variables['RAY_AUTH_TOKEN']}"}
    assert status(variables["RAY_API_SERVER_ADDRESS"] + "/api/jobs/", token) == 200
    assert status(variables["AWS_ENDPOINT_URL_S3"] + "/s2l/store/x") == 403
    secrets = [variables[name] for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "RAY_AUTH_TOKEN")]
    commands = " ".join(" ".join(process.cmdline()) for process in processes_of(list(pids(services).values())))
    assert not [secret for secret in secrets if secret in commands]
    private = [path for path in home.services.iterdir() if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)


def _readers_read(home: ServicesHome, grid: str) -> None:
    home.sourced = "env.readonly"
    try:
        assert home.json("plan", grid)["stages"]["metrics"]["done"] == 1
        assert home.json("status", grid)["trials"]["done"] == 1
        assert '"pia"' in home.run("results", grid, "--format", "json").stdout
        home.run("report", grid, "-o", "page.html")
        home.run("verify")
        told = home.run("run", grid, "--set", "seed=1", "--local", "--no-tracking", check=(4,)).stderr
        assert "AccessDenied; these credentials may not do that" in told
        assert "Traceback" not in told
    finally:
        home.sourced = "env"


def _doctor_is_content(home: ServicesHome) -> None:
    checks = home.json("doctor")["checks"]
    assert not [check for check in checks if check["state"] == "failed"]
    seen = {check["name"]: check["found"] for check in checks if check["node"] == "127.0.0.1"}
    assert {"versions", "store", "tracking", "clock", "disk"} <= set(seen)
    assert "sees what this machine wrote" in seen["store"]
    (jobs,) = [check["found"] for check in checks if check["name"] == "job server"]
    assert jobs.endswith("answers, with the token only")


@pytest.mark.skipif(own_address() is None, reason="this machine has no address but loopback")
def test_beyond_loopback_every_port_asks_for_credentials(home: ServicesHome) -> None:
    host = own_address()
    assert host is not None
    services = home.up("--host", host)
    variables = read(home.services / "env")
    mlflow, ray, s3 = (variables[name] for name in ("MLFLOW_TRACKING_URI", "RAY_API_SERVER_ADDRESS", "AWS_ENDPOINT_URL_S3"))
    assert {address.rpartition(":")[0] for address in (mlflow, ray, s3, f"http://{variables['RAY_ADDRESS']}")} == {f"http://{host}"}
    assert status(mlflow + "/api/2.0/mlflow/experiments/search?max_results=1") == 401
    assert status(s3 + "/s2l/store/x") == 403
    assert read(home.services / "env.readonly")["MLFLOW_TRACKING_USERNAME"] == "reader"
    inner = int(s3.rpartition(":")[2]) + GRPC
    assert unasked(host, inner, MAKE_A_KEY) == "UNAVAILABLE"
    open_to_others = {name: listening(processes_of([service["pid"]])) for name, service in services.items()}
    assert {address for name in ("s3", "mlflow") for address, _ in open_to_others[name] if not is_loopback(address)} == {host}
    ports = {port for address, port in open_to_others["ray"] if not is_loopback(address)}
    assert len(ports) >= 5, "its node, its dashboard, their agents"
    assert {port: refuses_strangers(host, port) for port in ports} == dict.fromkeys(ports, True)
    told = home.run("up", "--folder", str(home.services), "--host", "127.0.0.1", check=(2,)).stderr
    assert f"s3 runs and listens at {host}; to change that: s2l down" in told


def test_what_a_killed_mlflow_leaves_behind_keeps_no_port_and_does_not_outlive_down(home: ServicesHome) -> None:
    alone = ("--without", "s3", "--without", "ray")
    first = home.up(*alone)["mlflow"]
    ours = processes_of([first["pid"]])
    os.kill(first["pid"], signal.SIGKILL)
    again = home.up(*alone)["mlflow"]
    assert (again["state"], again["address"]) == ("restarted", first["address"])
    assert not [process for process in ours if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    os.kill(again["pid"], signal.SIGKILL)
    assert status(again["address"] + "/health") == 200
    home.down()
    with pytest.raises(urllib.error.URLError):
        status(again["address"] + "/health")
