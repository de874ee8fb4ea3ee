"""Idle slots of two ways to run a grid on Tune: one Searcher that hands out what is ready, or one Tuner per wave.

    python tests/benchmarks/bench_scheduling.py [--cells 200] [--slots 2] [--json]

A grid of sleeping stages: per domain one SP set, then the scores of the un-shaken base, then its cells.
Idle share = 1 - slept / (slots x wall).
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from cluster.ray_node import quiet_environment, ray_session

quiet_environment()  # before the first import of ray

from ray import tune

from jobs.execute.queue import Outcome, Queue
from jobs.execute.searcher import ReadySearcher
from jobs.execute.tune_backend import _Silent
from jobs.execute.units import Unit
from jobs.plan.graph import Node
from jobs.stages.specs import BlindStage


class Sleeper(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.seconds = config.get("seconds", 0.0) or json.loads(config.get("order", "0.0"))
        self.key = config.get("key", "")

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(self.seconds)
        return {"done": True, "committed": 1}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing."""


def sleeping_grid(cells: int) -> tuple[list[Unit], dict[str, float], list[list[str]]]:
    rng = random.Random(0)
    units, seconds, waves = [], {}, [[], [], []]

    def unit(name: str, needs: list[str], sleep: float, wave: int) -> None:
        units.append(Unit(name, "cell", (Node(BlindStage(), (), name),), frozenset(needs)))
        seconds[name] = sleep
        waves[wave].append(name)

    domains = max(1, cells // 20)
    for domain in range(domains):
        unit(f"sp{domain}", [], rng.uniform(0.2, 1.0), 0)
        unit(f"before{domain}", [f"sp{domain}"], rng.uniform(0.1, 0.5), 1)
        for cell in range(cells // domains):
            unit(f"cell{domain}.{cell}", [f"sp{domain}", f"before{domain}"], rng.uniform(0.1, 1.5), 2)
    return units, seconds, waves


def run_tuner(search: Any, space: dict[str, Any], samples: int, temp: str) -> None:
    tune.Tuner(
        tune.with_resources(Sleeper, {"CPU": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(search_alg=search, num_samples=samples, reuse_actors=True, metric="committed", mode="max"),
        run_config=tune.RunConfig(storage_path=temp, verbose=0, progress_reporter=_Silent()),
    ).fit()


class SleepSearcher(ReadySearcher):
    """Outcomes are made here, since a sleeping stage commits nothing."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        unit_id = self._units.get(trial_id)
        made = {"outcome": json.dumps({"committed": [unit_id], "ran": [unit_id]})} if unit_id else result
        super().on_trial_complete(trial_id, made, error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    import os

    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",
        "TUNE_MAX_PENDING_TRIALS_PG": str(2 * args.slots),
    }
    units, seconds, waves = sleeping_grid(args.cells)
    slept = sum(seconds.values())
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="s2l") as temp, ray_session(workers=args.slots, temp=Path(temp) / "r"):
        run_tuner(None, {"seconds": tune.grid_search([0.01] * args.slots)}, 1, temp)  # warm-up
        started = time.perf_counter()
        for wave in waves:
            run_tuner(None, {"seconds": tune.grid_search([seconds[name] for name in wave])}, 1, temp)
        found["waves"] = {"wall_s": time.perf_counter() - started}
        started = time.perf_counter()

        def nothing(_unit: Unit, _outcome: Outcome) -> None:
            return None

        search = SleepSearcher(Queue(units), lambda unit: json.dumps(seconds[unit.id]), nothing, lambda _unit, _outcome: Outcome())
        run_tuner(search, {}, -1, temp)
        found["searcher"] = {"wall_s": time.perf_counter() - started}
    for row in found.values():
        row["idle_share"] = 1 - slept / (args.slots * row["wall_s"])
    if args.json:
        print(json.dumps({"cells": args.cells, "slots": args.slots, "slept_s": slept, **found}))
    else:
        for name, row in found.items():
            print(f"{name:10} wall {row['wall_s']:7.1f} s   idle {100 * row['idle_share']:5.1f} %")


if __name__ == "__main__":
    main()
