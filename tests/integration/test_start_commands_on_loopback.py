"""The start commands of the images as any user may run them on one machine: private ports and folders, loopback alone, no root."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.compose_bed import ROOT
from tests.s2l_process import Home, wait_for
from tests.services_world import MAKE_A_KEY, unasked

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
START = ROOT / "docker/start"
KEYS = {"AWS_ACCESS_KEY_ID": "S2LTEST", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16), "AWS_REGION": "us-east-1"}


def ports(count: int) -> list[int]:
    """Free ports whose twins 10,000 above (SeaweedFS takes them too) are free as well; beyond those that Ray gives its workers."""
    found: list[int] = []
    while len(found) < count:
        port = 20_000 + secrets.randbelow(2_700)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", port + 10_000)):
            found.append(port)
    return found


class Service:
    """A start command that runs."""

    def __init__(self, script: str, folder: Path, **given: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "S2L_", "MLFLOW_", "AWS_"))}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.log = folder / f"{script}.log"
        with self.log.open("wb") as log:
            environment = kept | {"PATH": path, "PYTHONPATH": str(ROOT)} | given
            self.process = subprocess.Popen(
                [str(START / script)], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait_for(self, url: str) -> None:
        wait_for(lambda: answers(url) or self.process.poll() is not None, url, timeout=300)
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-3000:]

    def listening(self) -> set[tuple[str, int]]:
        """Addresses and ports that the command and what it started listen on."""
        pids = {self.process.pid, *(child.pid for child in psutil.Process(self.process.pid).children(recursive=True))}
        return {
            (found.laddr.ip, found.laddr.port) for found in psutil.net_connections("tcp") if found.status == "LISTEN" and found.pid in pids
        }

    def stop(self) -> int:
        """SIGTERM to the command alone, as an engine sends it; its exit code."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(120)
        finally:
            _, alive = psutil.wait_procs(children, timeout=60)
            for child in alive:
                child.kill()
            assert not alive, f"left behind: {alive}"


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="s2l-", dir="/tmp") as found:
        yield Path(found)


def test_store_and_tracking_come_up_on_loopback_and_doctor_finds_them_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3, master, volume, filer, tracking = ports(5)
    inner = {"S2L_MASTER_PORT": str(master), "S2L_VOLUME_PORT": str(volume), "S2L_FILER_PORT": str(filer)}
    weed = Service("seaweedfs.sh", folder, S2L_S3_PORT=str(s3), S2L_SEAWEEDFS_DATA=str(folder / "weed"), **KEYS, **inner)
    mlflow = Service("mlflow.sh", folder, S2L_MLFLOW_PORT=str(tracking), S2L_MLFLOW_DATA=str(folder / "mlflow"))
    try:
        weed.wait_for(f"http://127.0.0.1:{filer}/buckets/s2l/")
        mlflow.wait_for(f"http://127.0.0.1:{tracking}/health")
        for name, value in KEYS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{s3}")
        found = Home(folder).json("doctor", "--store", "s3://s2l/store", "--tracking", f"http://127.0.0.1:{tracking}", check=(0, 2))
        states = {check["name"]: check["state"] for check in found["checks"]}
        assert (states["store"], states["tracking"]) == ("ok", "ok")
        assert {address for service in (weed, mlflow) for address, _ in service.listening()} == {"127.0.0.1"}
        inner_ports = [port + 10_000 for port in (s3, master, volume, filer)]
        assert {port for _, port in weed.listening()} >= set(inner_ports)
        assert {port: unasked("127.0.0.1", port, MAKE_A_KEY) for port in inner_ports} == dict.fromkeys(inner_ports, "UNAVAILABLE")
        assert (
            json.loads((folder / "weed/s3.json").read_text())["identities"][0]["credentials"][0]["secretKey"]
            == KEYS["AWS_SECRET_ACCESS_KEY"]
        )
        assert all(path.stat().st_mode & 0o077 == 0 for path in (folder / "weed", *(folder / "weed").iterdir(), folder / "mlflow"))
    finally:
        codes = [service.stop() for service in (mlflow, weed)]
    assert codes[1] in (0, 143)


@pytest.fixture
def by_default() -> Iterator[Path]:
    """The folder in which Ray lies where nobody names one; what a test leaves in it is removed."""
    own = Path(f"/tmp/s2l-ray-{os.geteuid()}")
    before = set((own / "r").glob("session_*"))
    yield own / "r"
    for session in set((own / "r").glob("session_*")) - before:
        session.unlink() if session.is_symlink() else shutil.rmtree(session)
    if not before:
        shutil.rmtree(own)


def test_a_ray_head_on_loopback_takes_a_driver_with_its_token_alone_and_lies_in_a_private_folder(folder: Path, by_default: Path) -> None:
    port, jobs, agent = ports(3)
    token = secrets.token_hex(32)
    given = {"S2L_RAY_PORT": str(port), "S2L_JOBS_PORT": str(jobs), "S2L_CPUS": "1"}
    sessions = set(by_default.glob("session_2*"))
    flags = f"--dashboard-agent-listen-port={agent} --ray-client-server-port={agent + 10_000}"
    head = Service("ray-head.sh", folder, RAY_AUTH_TOKEN=token, S2L_RAY_FLAGS=flags, RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="0", **given)
    try:
        head.wait_for(f"http://127.0.0.1:{jobs}/api/gcs_healthz")
        for given_token, code in ((token, 0), ("b" * 64, 4)):
            words = [sys.executable, "-m", "cluster.wait_for_nodes", f"127.0.0.1:{port}", "1", "--seconds", "60"]
            environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": given_token}
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
            assert (done.returncode == 0) == (code == 0), done.stderr
        (session,) = set(by_default.glob("session_2*")) - sessions
        assert stat.S_IMODE(by_default.parent.stat().st_mode) == 0o700
        assert (session / "sockets/plasma_store").is_socket()
    finally:
        head.stop()
