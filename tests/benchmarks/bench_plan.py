"""How long `s2l plan --json` takes for 10,000 trials: the whole process, with the interpreter's start and the store's listing.

    python tests/benchmarks/bench_plan.py [--trials 10000] [--done 0.5] [--repeat 5] [--json]

The grid: ten domains x ten LoRA ranks x seeds. The store is a folder with manifests for a share of the stages, chosen at random.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from jobs.grid.read import read_grid
from jobs.plan.demand import count
from jobs.plan.expand import expand

GRID = """
name: plan-{trials}
fixed: {{alpha: rank, lr: 1e-3, steps: 60}}
axes:
  domain: [zorvik, mellune, tavrox, quilbo, ondrix, pexilla, brundlo, yivvek, fennolu, kuzzamo]
  method: [lora+dreambooth]
  rank: [1, 2, 3, 4, 5, 8, 16, 24, 32, 64]
  seed: {seeds}
"""
START = "import jobs.cli.main, jobs.plan.expand, jobs.grid.read, jobs.plan.demand, jobs.ledger.ledger, jobs.store.open"


def write_store(grid: Path, store: Path, done: float) -> int:
    """Manifest files for a share of the grid's stages; a listing reads names only."""
    choose = random.Random(0)
    nodes = [node for node in expand(read_grid(grid)).nodes() if choose.random() < done]
    for kind in {node.kind for node in nodes}:
        (store / "manifests" / kind).mkdir(parents=True)
    for node in nodes:
        (store / "manifests" / node.kind / f"{node.key}.json").touch()
    return len(nodes)


def process_seconds(command: list[str], repeat: int) -> tuple[float, float]:
    """The median wall and CPU time of a whole process; they differ where the machine is busy."""
    walls, cpus = [], []
    for _ in range(repeat):
        start, before = time.perf_counter(), os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = os.times()
        walls.append(time.perf_counter() - start)
        cpus.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return statistics.median(walls), statistics.median(cpus)


def split(grid: Path, store: Path) -> dict[str, float]:
    """CPU seconds of reading, expanding and counting in this process, the best of three."""
    from jobs.ledger.ledger import Ledger
    from jobs.store.open import open_store

    best: dict[str, float] = {}
    for _ in range(3):
        marks = [time.process_time()]
        read = read_grid(grid)
        marks.append(time.process_time())
        plan = expand(read)
        marks.append(time.process_time())
        count(plan, Ledger(open_store(str(store))))
        marks.append(time.process_time())
        for name, seconds in zip(("read", "expand", "count"), (later - earlier for earlier, later in pairwise(marks)), strict=True):
            best[name] = min(seconds, best.get(name, seconds))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--done", type=float, default=0.5)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        grid, store = Path(folder) / "grid.yaml", Path(folder) / "store"
        grid.write_text(GRID.format(trials=options.trials, seeds=list(range(options.trials // 100))))
        manifests = write_store(grid, store, options.done)
        command = [sys.executable, "-c", "from jobs.cli import main; main()", "plan", str(grid), "--store", str(store), "--json"]
        whole = process_seconds(command, options.repeat)
        start = process_seconds([sys.executable, "-c", START], options.repeat)
        found = {
            "trials": options.trials,
            "manifests": manifests,
            "whole_process_s": whole[0],
            "whole_process_cpu_s": whole[1],
            "interpreter_and_imports_s": start[0],
            **{f"{name}_cpu_s": seconds for name, seconds in split(grid, store).items()},
        }
    print(json.dumps(found) if options.json else "\n".join(f"{name:28} {value:10.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
