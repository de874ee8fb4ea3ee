"""Bytes that a trial of each method leaves in the store under each retention policy, read from a real ledger.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_stored.py [--json] [--steps N]

Runs all methods on one drawn person in this process, in a store of its own, with few steps: a step adds a line to the curve and changes no
other size. Then the policies `all`, `small` and `none` are applied in turn and what is left is counted. A trial's own stages are its shake
and the scores and metrics that no other method shares; what several share is counted apart, once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jobs.execute.options import RunOptions
from jobs.execute.progress import Silent
from jobs.execute.run import run_plan
from jobs.grid.presets import METHODS
from jobs.grid.read import read_grid
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.ledger.retention import Keep, drop
from jobs.plan.expand import expand
from jobs.plan.graph import Node, ancestors
from jobs.plan.plan import Plan, Trial
from jobs.store.open import open_store

POLICIES: tuple[Keep, ...] = ("all", "small", "none")  # from what keeps most to what keeps least
assert set(POLICIES) == set(get_args(Keep))

GRID = """
name: stored
fixed:
  {{model: tiny, data: tiny-faces, domain: zorvik, steps: {steps}, batch: 16, sp_size: 64, sp_steps: 5, guidance: 2.0, alpha: rank,
    attacks: [loss], bootstrap: 200, seed: 0}}
axes:
  method: [{methods}]
"""


def stored(ledger: Ledger, nodes: Iterable[Node]) -> dict[str, int]:
    """Bytes of the stages' manifests and of their payloads that are in the store, with markers of what was dropped; by kind."""
    sizes: Counter[str] = Counter()
    for node in nodes:
        manifest = ledger.manifest(node.kind, node.key)
        assert manifest is not None, f"{node} is not done"
        names = {Paths.manifest(node.kind, node.key)}
        names |= {name for payload in manifest.payloads for name in (Paths.blob(payload.sha256), Paths.dropped(payload.sha256))}
        sizes[node.kind] += sum(ledger.store.size(name) or 0 for name in names)
    return dict(sizes)


def own_and_shared(plan: Plan) -> tuple[dict[str, list[Node]], list[Node]]:
    """For each method the stages that only its trial hangs on; and those that several do."""
    reached = {_method(trial): set(ancestors(trial.leaves())) for trial in plan.trials}
    uses = Counter(node for nodes in reached.values() for node in nodes)
    own = {method: [node for node in nodes if uses[node] == 1] for method, nodes in reached.items()}
    return own, [node for node, times in uses.items() if times > 1]


def _method(trial: Trial) -> str:
    return str(trial.axes["method"])


def measure(steps: int, folder: Path) -> dict[str, Any]:
    grid = folder / "stored.yaml"
    grid.write_text(GRID.format(steps=steps, methods=", ".join(METHODS)), encoding="utf-8")
    plan = expand(read_grid(grid))
    url = str(folder / "store")
    ledger = Ledger(open_store(url))
    result = run_plan(plan, ledger, RunOptions(store=url, local=True), Silent(), lambda trial, state: None)
    assert not result.failed, result.failed
    own, shared = own_and_shared(plan)
    methods: dict[str, dict[str, dict[str, int]]] = {method: {} for method in own}
    for keep in POLICIES:
        drop(ledger, plan.nodes(), keep)
        for method, nodes in own.items():
            methods[method][keep] = stored(ledger, nodes)
    return {"steps": steps, "methods": methods, "shared": stored(ledger, shared)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="s2l-stored-") as folder:
        found = measure(options.steps, Path(folder))
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"tiny model, {options.steps} steps, attack loss; bytes of a trial's own stages under --keep, and without the shake's")
    print(f"{'method':30}{'all':>12}{'small':>12}{'none':>12}{'not shake':>12}")
    for method, kept in found["methods"].items():
        sums = [sum(kept[keep].values()) for keep in POLICIES]
        rest = sums[0] - kept["all"].get("shake", 0)
        print(f"{method:30}" + "".join(f"{value:12,}" for value in (*sums, rest)))
    print("shared: " + ", ".join(f"{kind} {size:,}" for kind, size in sorted(found["shared"].items())))


if __name__ == "__main__":
    main()
