"""A Ray cluster of hosts that can be cut off: a head without slots, and nodes with one each, in network namespaces."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.namespaces import Host, network

GCS_PORT = 6379
START_S = 180.0
_HEALTH = {
    f"RAY_health_check_{name}": value
    for name, value in {"initial_delay_ms": "5000", "period_ms": "2000", "timeout_ms": "5000", "failure_threshold": "4"}.items()
}


@dataclass
class Cluster:
    """Attributes:
    env: of every process of Ray: a token, and how soon a silent node counts as lost.
    away: names of nodes that are cut off at the moment.
    """

    head: Host
    nodes: list[Host]
    env: dict[str, str]
    folder: Path
    ray: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"{self.head.address}:{GCS_PORT}"

    def start(self) -> None:
        """The head and all nodes; returns when they have found each other."""
        self._ray(self.head, "--head", f"--port={GCS_PORT}", "--num-cpus=0", "--include-dashboard=false")
        self._wait_for(1)
        for host in self.nodes:
            self.start_node(host)
        self._wait_for(1 + len(self.nodes))

    def start_node(self, host: Host) -> None:
        self._ray(host, f"--address={self.address}", "--num-cpus=1")

    def restart(self) -> None:
        """All of it once more: what ran on nodes whose head is gone is ended first."""
        for host in [self.head, *self.nodes]:
            host.kill()
        self.start()

    def workers(self) -> list[psutil.Process]:
        """The processes that run stages, on all nodes."""
        found = []
        for host in self.nodes:
            for pid in host.pids():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process = psutil.Process(pid)
                    if any(word.startswith("ray::") and "Trainable" in word for word in process.cmdline()):
                        found.append(process)
        return found

    def _ray(self, host: Host, *words: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={host.address}", *words]
        command += ["--object-store-memory=80000000", "--disable-usage-stats"]
        self.ray[host.name] = host.start(command, env=self.env, log=self.folder / f"ray-{host.name}.log")

    def _wait_for(self, nodes: int) -> None:
        code = f"import ray; ray.init(address='{self.address}', log_to_driver=False); print(sum(node['Alive'] for node in ray.nodes()))"
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            said = self.head.run([sys.executable, "-c", code], env=self.env, timeout=START_S).stdout.split()
            if said and said[-1].isdigit() and int(said[-1]) >= nodes:
                return
            time.sleep(1)
        raise RuntimeError(f"the cluster did not come to {nodes} nodes within {START_S:.0f} s")


@contextlib.contextmanager
def cluster(folder: Path, env: dict[str, str], nodes: int = 2) -> Iterator[Cluster]:
    """A running cluster; its processes find `env` in their environment."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    settings: dict[str, Any] = env | token | _HEALTH | {"RAY_enable_metrics_collection": "0", "OMP_NUM_THREADS": "1"}
    with network("head", *(f"node{number}" for number in range(1, nodes + 1))) as hosts:
        found = Cluster(hosts["head"], [host for name, host in hosts.items() if name != "head"], settings, folder)
        found.start()
        yield found
