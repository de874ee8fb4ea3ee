"""Grids over many nodes: a head, three workers and the services, each a host of its own with its own address and temporary folder."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.namespaces import Host, needs_namespaces, network
from tests.opens import Opens
from tests.ray_nodes import RayNodes, ray_nodes
from tests.s2l_process import Home, chaos_grid
from tests.services_world import read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
S2L = [sys.executable, "-c", "from jobs.cli import main; main()"]


@dataclass
class Cluster:
    """Nodes, and the store and MLflow that they share."""

    hosts: dict[str, Host]
    nodes: RayNodes
    grid: Path
    expected: bytes

    def s2l(self, *words: str, store: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command on the head, with a store of its own in the shared bucket."""
        done = self.nodes.head.run([*S2L, *words], env=self.nodes.env | {"S2L_STORE": store}, timeout=900)
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
        return done

    def manifests(self, store: str) -> list[dict[str, Any]]:
        """What the store holds, read on the head."""
        code = (
            "import json, os\n"
            "from jobs.ledger.ledger import Ledger\nfrom jobs.store.open import open_store\n"
            "store = open_store(os.environ['S2L_STORE'])\n"
            "names = [entry.name for entry in store.list('manifests/')]\n"
            "print(json.dumps([json.loads(store.get(name).data) for name in names]))"
        )
        done = self.nodes.head.run([sys.executable, "-c", code], env=self.nodes.env | {"S2L_STORE": store})
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    needs_namespaces()
    folder = tmp_path_factory.mktemp("many")
    home, grid = Home(folder), chaos_grid(folder)
    home.run("run", str(grid), "--local", "--no-tracking")
    with network("services", "head", "n1", "n2", "n3") as hosts:
        place = hosts.pop("services")
        up = [*S2L, "up", "--folder", str(folder / "services"), "--host", place.address, "--without", "ray"]
        done = place.run(up, env={"PYTHONPATH": home.environment()["PYTHONPATH"]})
        assert done.returncode == 0, done.stderr
        with ray_nodes(hosts, env=read(folder / "services" / "env")) as nodes:
            yield Cluster(hosts, nodes, grid, home.results(str(grid)))
        place.run([*S2L, "down", "--folder", str(folder / "services")], env={"PYTHONPATH": home.environment()["PYTHONPATH"]})


def scratch_left(host: Host) -> list[str]:
    return [path.name for path in host.folder.glob("s2l-*/run-*")]


def test_a_grid_over_three_nodes_gives_the_bytes_of_one_process_and_fetches_a_base_once_a_node(cluster: Cluster) -> None:
    store = "s3://s2l/spread"
    cluster.s2l("run", str(cluster.grid), "--address", cluster.nodes.address, "--json", store=store)
    assert cluster.s2l("results", str(cluster.grid), "--format", "json", store=store).stdout.encode() == cluster.expected
    made = cluster.manifests(store)
    busy = Counter(manifest["made"]["host"] for manifest in made if manifest["kind"] in ("sp", "shake", "score"))
    assert len(busy) >= 2, f"one node did everything: {busy}"
    assert set(busy) <= {"n1", "n2", "n3"}, "the head ran trials"
    fetched = [path for host in cluster.nodes.workers.values() for path in scratch_left(host)]
    assert fetched == [], "a node kept what it fetched"


@pytest.mark.cluster
def test_a_base_is_read_from_the_store_once_by_each_node_however_many_workers_and_trials_it_has(cluster: Cluster, tmp_path: Path) -> None:
    """A folder store that every host shares, whose reads the kernel counts."""
    store = tmp_path / "store"
    for number in range(256):  # watched from the start
        (store / "blobs" / f"{number:02x}").mkdir(parents=True)
    with closing(Opens(store / "blobs")) as opens:
        cluster.s2l("run", str(cluster.grid), "--address", cluster.nodes.address, "--no-tracking", store=str(store))
        counts = opens.counts()
    manifests = [json.loads(path.read_text()) for path in (store / "manifests").rglob("*.json")]
    (base,) = (manifest for manifest in manifests if manifest["kind"] == "base")
    largest = max(base["payloads"], key=lambda payload: payload["size"])
    cells = [manifest for manifest in manifests if manifest["kind"] == "shake"]
    assert len(cells) == 4
    used = {manifest["made"]["host"] for manifest in manifests if manifest["kind"] in ("shake", "score", "sp")} & set(cluster.nodes.workers)
    assert 0 < counts[largest["sha256"]] <= len(used), f"{counts[largest['sha256']]} reads by {used}"


@pytest.mark.cluster
def test_a_node_that_is_cut_off_and_dies_costs_nothing_but_time(cluster: Cluster) -> None:
    store = "s3://s2l/cut"
    log = cluster.nodes.head.folder / "cut.log"
    driver = cluster.nodes.head.start(
        [*S2L, "run", str(cluster.grid), "--address", cluster.nodes.address], env=cluster.nodes.env | {"S2L_STORE": store}, log=log
    )
    victim = _wait_for_a_shake(cluster, log, driver, store)
    host = cluster.nodes.workers[victim]
    host.cut()
    host.kill()
    assert driver.wait(600) == 0, log.read_text()[-4000:]
    assert cluster.s2l("results", str(cluster.grid), "--format", "json", store=store).stdout.encode() == cluster.expected
    status = json.loads(cluster.s2l("status", str(cluster.grid), "--json", store=store).stdout)
    assert status["failures"] == []
    assert "lost" in log.read_text()
    host.join()
    cluster.nodes.start_worker(victim)
    cluster.nodes.wait_for(3)
    assert json.loads(cluster.s2l("run", str(cluster.grid), "--json", "--local", store=store).stdout)["stages"]["ran"] == 0


@pytest.mark.cluster
def test_a_driver_that_is_killed_with_its_host_is_followed_by_one_on_another_node(cluster: Cluster) -> None:
    store = "s3://s2l/driver"
    log = cluster.nodes.head.folder / "driver.log"
    env = cluster.nodes.env | {"S2L_STORE": store}
    driver = cluster.nodes.head.start([*S2L, "run", str(cluster.grid), "--address", cluster.nodes.address], env=env, log=log)
    _wait_for_a_shake(cluster, log, driver, store)
    before = {manifest["key"]: manifest["digest"] for manifest in cluster.manifests(store)}
    driver.send_signal(signal.SIGKILL)
    driver.wait(30)
    again = [*S2L, "run", str(cluster.grid), "--address", cluster.nodes.address, "--json"]
    other = cluster.nodes.workers["n2"].run(again, env=env, timeout=900)
    assert other.returncode == 0, other.stderr[-4000:]
    after = {manifest["key"]: manifest["digest"] for manifest in cluster.manifests(store)}
    assert {key: after[key] for key in before} == before
    assert cluster.s2l("results", str(cluster.grid), "--format", "json", store=store).stdout.encode() == cluster.expected


def _wait_for_a_shake(cluster: Cluster, log: Path, driver: subprocess.Popen[bytes], store: str) -> str:
    """The host that made the first shake, while others are still to come."""
    deadline = time.monotonic() + 600
    while True:
        assert driver.poll() is None, f"the driver ended early:\n{log.read_text()[-4000:]}"
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        if "] shake " in log.read_text():
            hosts = [manifest["made"]["host"] for manifest in cluster.manifests(store) if manifest["kind"] == "shake"]
            return str(hosts[0])
        time.sleep(0.5)
