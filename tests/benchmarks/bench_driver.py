"""The driver's cost per trial: a grid whose stages do nothing, on Ray Tune, with every commit and the MLflow mirror.

    python tests/benchmarks/bench_driver.py [--trials 200] [--workers 2] [--json]

Wall time over trials, less that of a grid of four (start and end), and the driver's own CPU time; MLflow writes to SQLite as by default.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from cluster.ray_node import quiet_environment

ROOT = Path(__file__).resolve().parents[2]


def measure(trials: int, workers: int, folder: Path) -> dict[str, Any]:
    from jobs.execute.options import RunOptions
    from jobs.execute.progress import Silent
    from jobs.execute.run import run_plan
    from jobs.expand import expand
    from jobs.grid.read import parse_grid
    from jobs.ledger.ledger import Ledger
    from jobs.store.open import open_store
    from jobs.tracker.session import mirrored

    seeds = ", ".join(map(str, range(trials // 2)))
    text = (
        f"name: nothing\nfixed: {{attacks: [loss], alpha: rank}}\naxes:\n  domain: [zorvik, mellune]\n  method: [lora]\n  seed: [{seeds}]\n"
    )
    plan = expand(parse_grid(text, "nothing.yaml"))
    store = str(folder / "store")
    ledger = Ledger(open_store(store))
    options = RunOptions(store, workers, stages="tests.benchmarks.noop_stages")
    wall, cpu = time.perf_counter(), time.process_time()
    with mirrored(plan, ledger, f"sqlite:///{folder / 'mlflow.db'}", lambda text: None) as on_trial:
        result = run_plan(plan, ledger, options, Silent(), on_trial)
        ran = time.perf_counter() - wall
    assert result.counts() == {"done": len(plan.trials), "failed": 0, "blocked": 0}, result.failed
    return {
        "trials": len(plan.trials),
        "stages": len(result.ran),
        "run_s": ran,
        "with_mlflow_s": time.perf_counter() - wall,
        "driver_cpu_s": time.process_time() - cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    quiet_environment()
    with tempfile.TemporaryDirectory() as folder:
        few = measure(4, args.workers, _made(folder, "few"))
        many = measure(args.trials, args.workers, _made(folder, "many"))
    more = many["trials"] - few["trials"]
    answer = {
        "few": few,
        "many": many,
        "ms_per_trial": {name: 1e3 * (many[name] - few[name]) / more for name in ("run_s", "with_mlflow_s", "driver_cpu_s")},
    }
    if args.json:
        print(json.dumps(answer))
        return
    for name, words in (
        ("run_s", "run"),
        ("with_mlflow_s", "run, and MLflow up to date"),
        ("driver_cpu_s", "driver's CPU time, all its threads"),
    ):
        print(f"{words:36} {many[name]:7.1f} s for {many['trials']} trials, {answer['ms_per_trial'][name]:6.1f} ms a trial")


def _made(folder: str, name: str) -> Path:
    path = Path(folder) / name
    path.mkdir()
    return path


if __name__ == "__main__":
    main()
