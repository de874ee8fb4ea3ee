"""What thousands of trials cost: `paper-table1` with more seeds, its stages doing nothing, on a real store and a real MLflow server.

    python tests/benchmarks/bench_scale.py [--trials 1000] [--workers 2] [--store folder|s3] [--no-tracking] [--json]

The grid is run in two halves, each by a process of its own: the first from nothing, the second with half done. Then `plan` and `run`
where all is done, `status` and `results`. Counted are the calls of the store by driver and workers, and the requests in the log of
MLflow's server. CPU time holds on a busy machine too; wall time does not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cluster.services import mlflow, seaweedfs
from jobs.grid.read import read_grid
from jobs.plan.expand import expand
from tests.benchmarks.counted import BEGAN

GRID = "paper-table1"
PER_SEED = 156
"""Trials of the grid that one more seed adds."""
_REQUEST = re.compile(r'"(GET|POST|PUT|PATCH|DELETE) \S*/mlflow(?:-artifacts)?/(artifacts|[\w-]+/[\w-]+)')


@dataclass
class Bench:
    """A store, a tracking server and a folder to measure in."""

    folder: Path
    store: str
    workers: int
    environment: dict[str, str]
    server: mlflow.MlflowServer | None
    found: dict[str, Any] = field(default_factory=dict)

    def measure(self, name: str, *arguments: str) -> dict[str, Any]:
        """Run a command in a fresh process; what it cost, by name."""
        counts = self.folder / name
        counts.mkdir()
        before = self._requests()
        environment = self.environment | {BEGAN: str(time.time())}
        command = [sys.executable, "-m", "tests.benchmarks.counted", str(counts), *arguments, "--store", self.store]
        with (self.folder / f"{name}.out").open("wb") as out, (self.folder / f"{name}.err").open("wb") as err:
            done = subprocess.run(command, cwd=self.folder, env=environment, stdout=out, stderr=err, check=False)
        if done.returncode:
            raise SystemExit(f"{name} ended with {done.returncode}\n" + (self.folder / f"{name}.err").read_text()[-3000:])
        found = json.loads((counts / "process.json").read_text())
        found["store_calls"] = {role: _calls(counts, role) for role in ("driver", "worker")}
        found["mlflow_requests"] = dict(self._requests() - before)
        self.found[name] = found
        print(f"{name}: {json.dumps(found)}", file=sys.stderr)
        return found

    def run(self, name: str, seeds: int) -> dict[str, Any]:
        tracking = ["--tracking", self.server.uri] if self.server else ["--no-tracking"]
        return self.measure(name, "run", GRID, "--set", _seeds(seeds), "--workers", str(self.workers), *tracking, "--json")

    def look(self, name: str, seeds: int, *options: str) -> dict[str, Any]:
        return self.measure(name, name.partition("_")[0], GRID, "--set", _seeds(seeds), *options)

    def _requests(self) -> Counter[str]:
        """What the server's log says it was asked, so far."""
        if self.server is None:
            return Counter()
        log = (Path(self.server.folder) / "mlflow-server.log").read_text(errors="replace")
        return Counter(f"{verb} {what}" for verb, what in _REQUEST.findall(log))


def _calls(folder: Path, role: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for path in folder.glob(f"{role}-*.calls"):
        with path.open() as lines:
            counts.update(line.split(maxsplit=1)[1].strip() for line in lines)
    return dict(sorted(counts.items()))


def _seeds(count: int) -> str:
    return f"seed={','.join(map(str, range(count)))}"


def _trials(seeds: int) -> int:
    return len(expand(read_grid(GRID, (_seeds(seeds),))).trials)


@contextmanager
def _bench(folder: Path, options: argparse.Namespace) -> Iterator[Bench]:
    with ExitStack() as stack:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S2L_", "MLFLOW_", "RAY_"))}
        environment["PYTHONPATH"] = str(ROOT)
        store = str(folder / "store")
        if options.store == "s3":
            s3 = seaweedfs.start(folder / "seaweedfs", buckets=["scale"])
            stack.callback(seaweedfs.stop, s3, at_once=True)
            environment |= s3.environment()
            store = "s3://scale/grid"
        server = None
        if options.tracking:
            server = mlflow.start(folder / "mlflow")
            stack.callback(mlflow.stop, server)
        yield Bench(folder, store, options.workers, environment, server)


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    seeds = max(2, round(options.trials / PER_SEED))
    trials, half = _trials(seeds), _trials(seeds // 2)
    with _bench(folder, options) as bench:
        bench.run("run_first_half", seeds // 2)
        bench.look("plan_half_done", seeds, "--json")
        bench.run("run_second_half", seeds)
        bench.run("run_nothing_left", seeds)
        bench.look("status", seeds, "--json")
        bench.look("results", seeds, "--format", "json")
        found = bench.found
    ran = {"run_first_half": half, "run_second_half": trials - half}
    return {
        "trials": trials,
        "done_before_second_half": half,
        "store": options.store,
        "per_trial": {name: _per_trial(found[name], count) for name, count in ran.items()},
        **found,
    }


def _per_trial(found: dict[str, Any], trials: int) -> dict[str, float]:
    """Without the start: times are counted from the first unit on."""
    calls = found["store_calls"]
    return {
        "wall_ms": 1e3 * (found["wall_s"] - found["first_unit_s"]) / trials,
        "driver_cpu_ms": 1e3 * (found["cpu_s"] - found["first_unit_cpu_s"]) / trials,
        "of_that_mirror_ms": 1e3 * found.get("mirror_cpu_s", 0.0) / trials,
        "driver_calls": sum(calls["driver"].values()) / trials,
        "worker_calls": sum(calls["worker"].values()) / trials,
        "mlflow_requests": sum(found["mlflow_requests"].values()) / trials,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--store", choices=["folder", "s3"], default="s3")
    parser.add_argument("--no-tracking", dest="tracking", action="store_false")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="s2l-scale-") as folder:
        found = measure(Path(folder), options)
    if options.json:
        print(json.dumps(found))
        return
    for name, values in found["per_trial"].items():
        print(f"{name:18} " + "  ".join(f"{word} {value:.1f}" for word, value in values.items()))
    for name, cost in found.items():
        if isinstance(cost, dict) and "wall_s" in cost:
            print(f"{name:18} " + "  ".join(f"{word} {cost[word]:.1f}" for word in cost if word.endswith(("_s", "_mb"))))


if __name__ == "__main__":
    main()
