"""What mirroring costs: the driver's share of a trial (`trial_changed`), and how fast trials reach MLflow.

    python tests/benchmarks/bench_mirror.py [--trials 200] [--server [--password]]

Prints one JSON document. Times hold for an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cluster.services import mlflow as service
from jobs.tracker.location import resolved
from jobs.tracker.mirror import Mirror
from jobs.tracker.mlflow_writer import MlflowWriter
from jobs.tracker.session import sync_grid
from tests.mirror_world import DONE, World


def measure(world: World, uri: str) -> dict[str, float]:
    MlflowWriter(uri).ping()  # import and tables apart
    mirror = Mirror(world.plan, world.ledger, uri, world.spool, lambda text: print(text, file=sys.stderr))
    told = []
    for trial in world.plan.trials:
        started = time.perf_counter()
        mirror.trial_changed(trial, DONE)
        told.append(time.perf_counter() - started)
    started, cpu = time.perf_counter(), time.process_time()
    mirror.start()
    report = mirror.finish(3600)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    assert report.written == len(world.plan.trials), report
    started = time.perf_counter()
    sync_grid(world.plan, world.ledger, uri)
    return {
        "trials": len(told),
        "told_ms_median": round(1000 * statistics.median(told), 3),
        "told_ms_p99": round(1000 * sorted(told)[int(0.99 * len(told))], 3),
        "delivered_per_s": round(len(told) / seconds, 1),
        "driver_cpu_ms_per_trial": round(1000 * cpu_seconds / len(told), 1),
        "sync_unchanged_s": round(time.perf_counter() - started, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--server", action="store_true", help="over HTTP to a server of its own, not to a SQLite file")
    parser.add_argument("--password", action="store_true", help="the server asks for one, as one beyond loopback does")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), ranks=tuple(range(1, arguments.trials // 2))).finish()
        if not arguments.server:
            print(json.dumps({"to": "sqlite"} | measure(world, resolved(world.uri))))
            return
        server = service.start(Path(folder) / "server", auth=arguments.password)
        os.environ |= server.environment()
        try:
            print(json.dumps({"to": "server with a password" if arguments.password else "server"} | measure(world, server.uri)))
        finally:
            service.stop(server)


if __name__ == "__main__":
    main()
