"""A real Ray cluster over the hosts of tests.namespaces: a raylet each, tokens, nodes that can die and come again."""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.namespaces import TEMP, Host
from tests.s2l_process import ROOT

PORT = 6379
_RAY = str(Path(sys.executable).parent / "ray")
_QUICK = {  # a cut link is a dead node after 9 s instead of 64
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass
class RayNodes:
    """A head and workers.

    Attributes:
        env: what every process of the cluster and its drivers need: token, store, credentials.
    """

    head: Host
    workers: dict[str, Host]
    env: dict[str, str]
    cpus: int = 1
    gpus: dict[str, int] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"{self.head.address}:{PORT}"

    def start_head(self) -> None:
        self._start(self.head, "--head", f"--port={PORT}", "--include-dashboard=false", "--num-cpus=0")

    def start_worker(self, name: str) -> None:
        self._start(self.workers[name], f"--address={self.address}", f"--num-cpus={self.cpus}", f"--num-gpus={self.gpus.get(name, 0)}")

    def wait_for(self, count: int, timeout: float = 120) -> None:
        """Until so many nodes with CPUs are alive."""
        code = (
            f"import ray; ray.init('{self.address}', logging_level='ERROR', log_to_driver=False); "
            "print(sum(1 for n in ray.nodes() if n['Alive'] and n['Resources'].get('CPU')))"
        )
        deadline = time.monotonic() + timeout
        while True:
            done = self.head.run([sys.executable, "-c", code], env=self.env)
            if done.stdout.strip().endswith(str(count)):
                return
            assert time.monotonic() < deadline, f"{count} nodes did not come: {done.stdout}{done.stderr[-2000:]}"
            time.sleep(0.5)

    def _start(self, host: Host, *words: str) -> None:
        host.start(
            [
                _RAY,
                "start",
                *words,
                f"--node-ip-address={host.address}",
                f"--temp-dir={TEMP}/ray",
                "--object-store-memory=80000000",
                "--disable-usage-stats",
                "--block",
            ],
            env=self.env,
            log=host.folder / "ray-start.log",
        )


@contextlib.contextmanager
def ray_nodes(
    hosts: Mapping[str, Host], *, head: str = "head", env: Mapping[str, str], cpus: int = 1, gpus: Mapping[str, int] | None = None
) -> Iterator[RayNodes]:
    """A cluster with a head that runs no trials and a worker on every other host.

    Args:
        env: the store's address and credentials, as an operator would give them to every node.
        gpus: host -> GPUs that Ray is told of, though there are none.
    """
    token = secrets.token_hex(32)
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **_QUICK, **env}
    settings |= {"RAY_enable_metrics_collection": "0"}
    workers = {name: host for name, host in hosts.items() if name != head}
    nodes = RayNodes(hosts[head], workers, settings, cpus, dict(gpus or {}))
    nodes.start_head()
    time.sleep(2)
    for name in workers:
        nodes.start_worker(name)
    nodes.wait_for(len(workers))
    yield nodes
