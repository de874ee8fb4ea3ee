"""A night on a cluster: thousands of trials on many hosts; two of them, MLflow's server and the driver die; one command in the morning.

    python -m tests.overnight [--nodes 8] [--trials 3000] [--json]

The grid is `paper-table1` with more seeds. Its stages do nothing, and leave what real ones leave; store, MLflow, nodes, processes and what
kills them are real. A run without Ray that nothing happens to, in a folder, says beforehand what the results must be. Needs root on Linux,
for the hosts are network namespaces.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.services.process import command_line
from tests.benchmarks.counted import BEGAN, FOLDER
from tests.namespaces import Host, network, why_not
from tests.ray_nodes import RayNodes, ray_nodes
from tests.s2l_process import ROOT, Home
from tests.services_world import read

GRID, PER_SEED = "paper-table1", 156
NODES_DIE, MLFLOW_DIES, DRIVER_DIES = 0.1, 0.3, 0.75
"""At which share of what there is to run."""
SEEN_S = 20.0
"""After so long Ray has seen that a silent node is gone. A worker that waited for a unit there was nobody's loss, and is not told of."""
_S2L = (sys.executable, "-c", "from jobs.cli import main; main()")
_MADE = re.compile(r"^\[(\d+)/(\d+)\] (.+)$", re.MULTILINE)
_MANIFESTS = """
import json, os
from concurrent.futures import ThreadPoolExecutor
from jobs.store.open import open_store
store = open_store(os.environ["S2L_STORE"])
names = [entry.name for entry in store.list("manifests/")]
with ThreadPoolExecutor(8) as pool:
    print(json.dumps({name: json.loads(found.data)["digest"] for name, found in zip(names, pool.map(store.get, names))}))
"""
_RUNS = """
import json
from mlflow import MlflowClient
client, found, token = MlflowClient(), [], None
ids = [one.experiment_id for one in client.search_experiments() if one.name.startswith("s2l/")]
while token != "":
    page = client.search_runs(ids, max_results=1000, page_token=token)
    found += [(run.info.status, run.data.tags.get("s2l.trial_key", "")) for run in page]
    token = page.token or ""
print(json.dumps(found))
"""


@dataclass
class Night:
    """A grid, the hosts it runs on, and what its drivers have said.

    Attributes:
        seeds: the words that say how large the grid is.
    """

    folder: Path
    services: Host
    nodes: RayNodes
    seeds: str
    drivers: list[Path] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        """The grid's command, on the head."""
        name = f"driver-{len(self.drivers) + 1}"
        counts, log = self.folder / name, self.folder / f"{name}.log"
        counts.mkdir()
        self.drivers.append(log)
        words = [
            "env",
            "-C",
            str(self.folder),
            *_counted(counts),
            "run",
            GRID,
            "--set",
            self.seeds,
            "--address",
            self.nodes.address,
            "--json",
        ]
        return self.nodes.head.start(words, env=self.nodes.env | {BEGAN: str(time.time())}, log=log)

    def ask(self, *words: str, timeout: float = 1800) -> str:
        """What a command says on the head."""
        done = self.nodes.head.run(words, env=self.nodes.env, timeout=timeout)
        assert done.returncode == 0, f"{words[1:]}: {done.returncode}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def look(self, command: str, *words: str) -> str:
        return self.ask(*_S2L, command, GRID, "--set", self.seeds, *words)

    def wait_for(self, share: float, driver: subprocess.Popen[bytes]) -> None:
        """Until the driver has told of so much of what it has to run."""

        def done() -> bool:
            told = _MADE.findall(self.said())
            return bool(told) and int(told[-1][0]) >= share * int(told[-1][1])

        self.until(done, f"{share:.0%} of the stages", driver)

    def until(self, condition: Callable[[], bool], what: str, driver: subprocess.Popen[bytes], patience_s: float = 3600) -> None:
        end = time.monotonic() + patience_s
        while not condition():
            assert driver.poll() is None, f"the driver ended before {what}:\n{self.said()[-4000:]}"
            assert time.monotonic() < end, f"no {what} after {patience_s:.0f} s:\n{self.said()[-4000:]}"
            time.sleep(0.5)

    def said(self) -> str:
        """By the latest driver."""
        return self.drivers[-1].read_text()

    def manifests(self) -> dict[str, str]:
        """Name -> digest of what the store holds."""
        found: dict[str, str] = json.loads(self.ask(sys.executable, "-c", _MANIFESTS))
        return found

    def runs(self) -> list[tuple[str, str]]:
        """Status and trial of every run that MLflow has; the parent's trial is empty."""
        return [(status, trial) for status, trial in json.loads(self.ask(sys.executable, "-c", _RUNS))]

    def works(self, name: str) -> bool:
        """Whether a worker runs units there."""
        words = (word for pid in self.nodes.workers[name].pids() for word in command_line(pid))
        return any(word.startswith("ray::") and "Trainable" in word for word in words)

    def power_cut(self, name: str) -> None:
        """A host is gone, and stays away."""
        self.nodes.workers[name].cut()
        self.nodes.workers[name].kill()

    def kill_mlflow(self) -> int:
        """kill -9 of all of MLflow's server; how many processes those were."""
        pids = [pid for pid in self.services.pids() if any("mlflow" in word for word in command_line(pid))]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)


def through_the_night(folder: Path, count: int, trials: int) -> dict[str, Any]:
    """The night, the morning, and what is to be seen then.

    Args:
        count: worker nodes, each with one slot.
        trials: about how many.

    Raises:
        AssertionError: a promise was broken; says which.
    """
    seeds = f"seed={','.join(map(str, range(max(1, round(trials / PER_SEED)))))}"
    expected = _undisturbed(folder / "undisturbed", seeds)
    names = [f"node{number}" for number in range(1, count + 1)]
    with network("services", "head", *names) as hosts:
        services = hosts.pop("services")
        up = [*_S2L, "up", "--folder", str(folder / "services"), "--host", services.address, "--without", "ray"]
        _on(services, up)
        try:
            (folder / "workers").mkdir()
            env = read(folder / "services" / "env") | {FOLDER: str(folder / "workers")}
            with ray_nodes(hosts, env=env) as nodes:
                night = Night(folder, services, nodes, seeds)
                before, gone = _disturb(night, names[:2])
                began = time.monotonic()
                _on(services, up)  # the morning: what died is started, and the grid's command is given again
                driver = night.start()
                assert driver.wait(3600) == 0, night.said()[-4000:]
                return _judge(night, expected, before) | {"gone": gone, "nodes": count, "morning_s": round(time.monotonic() - began)}
        finally:
            _on(services, [*_S2L, "down", "--folder", str(folder / "services")])


def _disturb(night: Night, lost: Sequence[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """What is in the store when the driver has died, and what has happened until then."""
    driver = night.start()
    night.wait_for(NODES_DIE, driver)
    night.until(lambda: all(night.works(name) for name in lost), "a worker on each node that is to die", driver, 120)
    for name in lost:
        night.power_cut(name)
    time.sleep(SEEN_S)
    night.wait_for(MLFLOW_DIES, driver)
    processes = night.kill_mlflow()
    assert processes, "there was no MLflow to kill"
    night.wait_for(DRIVER_DIES, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait(60)
    said = night.said()
    assert "MLflow is behind" in said, "nobody was told that MLflow is behind"
    return night.manifests(), {"nodes": list(lost), "mlflow_processes": processes, "workers_told_as_lost": said.count("a worker was lost")}


def _judge(night: Night, expected: bytes, before: dict[str, str]) -> dict[str, Any]:
    after = night.manifests()
    changed = [name for name, digest in before.items() if after.get(name) != digest]
    assert not changed, f"committed before the morning, and other or gone after it: {changed[:5]}"
    results = night.look("results", "--format", "json").encode()
    assert results == expected, "the results are other bytes than those of a run that nothing happened to"
    told = Counter(name for log in night.drivers for _, _, name in _MADE.findall(log.read_text()))
    twice = {name: times for name, times in told.items() if times > 1}
    assert not twice, f"told as run twice: {dict(list(twice.items())[:5])}"
    status = json.loads(night.look("status", "--json"))
    assert status["failures"] == [], status["failures"]
    trials = {row["trial_key"] for row in json.loads(results)}
    runs = night.runs()
    children = Counter(trial for _, trial in runs if trial)
    assert children.keys() >= trials, f"{len(trials - children.keys())} trials have no run in MLflow"
    assert max(children.values()) == 1, "a trial has two runs in MLflow"
    assert len(runs) == len(children) + 1, f"{len(runs) - len(children)} parents in MLflow"
    assert {status for status, _ in runs} == {"FINISHED"}, Counter(status for status, _ in runs)
    left = {kind: counts["to_run"] for kind, counts in json.loads(night.look("plan", "--json"))["stages"].items()}
    assert not any(left.values()), f"left to run: {left}"
    answer = json.loads(night.said()[night.said().index("\n{") :])
    return {
        "trials": len(children),
        "stages": len(after),
        "stages_before_the_morning": len(before),
        "stages_in_the_morning": answer["stages"]["ran"],
        "rows": len(json.loads(results)),
        "mlflow_runs": len(runs),
    }


def _undisturbed(folder: Path, seeds: str) -> bytes:
    """The results of a run in one process, without Ray."""
    folder.mkdir()
    home, counts = Home(folder), folder / "counts"
    counts.mkdir()
    words = [*_counted(counts), "run", GRID, "--set", seeds, "--local", "--no-tracking"]
    done = subprocess.run(
        words, cwd=folder, env=home.environment() | {BEGAN: str(time.time())}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return home.run("results", GRID, "--set", seeds, "--format", "json").stdout.encode()


def _counted(counts: Path) -> list[str]:
    """The command with stages that do nothing."""
    return [sys.executable, "-m", "tests.benchmarks.counted", str(counts)]


def _on(host: Host, words: Sequence[str]) -> None:
    done = host.run(words, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, f"{words[3:]}: {done.stderr[-3000:]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=8, help="worker nodes; two of them die")
    parser.add_argument("--trials", type=int, default=3000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if reason := why_not():
        parser.error(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # hosts and services are taken away then too
    with tempfile.TemporaryDirectory(prefix="s2l-night-") as folder:
        found = through_the_night(Path(folder), options.nodes, options.trials)
    print(json.dumps(found) if options.json else "\n".join(f"{name:26} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
