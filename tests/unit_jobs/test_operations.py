"""What a run asks of its store, counted: counts do not depend on how busy a machine is, and each call may be a long way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from jobs.execute.options import RunOptions
from jobs.execute.progress import Silent
from jobs.execute.run import RunResult, run_plan
from jobs.grid.read import parse_grid
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.plan.demand import count
from jobs.plan.expand import expand
from jobs.plan.graph import Node
from jobs.plan.plan import Plan
from jobs.store.open import open_store
from jobs.worker import setup as worker_setup
from tests.failing_store import FailingStore

GRID = """\
name: counted
fixed: {attacks: [loss, pia], alpha: rank}
axes:
  domain: [zorvik, mellune]
  method: [lora]
  seed: [SEEDS]
"""


class Counting:
    """Runs of one grid, here and one after the other, with every call of the store by who made it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.url = str(folder / "store")
        self.driver = FailingStore(open_store(self.url))
        self.worker = FailingStore(open_store(self.url))
        patch.setattr(worker_setup, "open_store", lambda url: self.worker)

    def plan(self, seeds: int) -> Plan:
        return expand(parse_grid(GRID.replace("SEEDS", ", ".join(map(str, range(seeds)))), "counted.yaml"))

    def run(self, plan: Plan) -> RunResult:
        self.driver.calls.clear()
        self.worker.calls.clear()
        options = RunOptions(self.url, local=True, stages="tests.benchmarks.noop_stages")
        return run_plan(plan, Ledger(self.driver), options, Silent(), lambda *_: None)


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return Counting(tmp_path, monkeypatch)


def parts(store: FailingStore) -> Counter[str]:
    """`get manifests` and so on -> how often."""
    return Counter(call.partition("/")[0] for call in store.calls)


def more(counting: Counting, fewer: int, many: int) -> tuple[Counter[str], Counter[str], list[Node]]:
    """What more seeds add: calls of the workers, calls of the driver, stages."""
    first = counting.plan(fewer)
    counting.run(first)
    workers, driver = parts(counting.worker), parts(counting.driver)
    counting.driver.inner = counting.worker.inner = open_store(f"{counting.url}-again")
    second = counting.plan(many)
    counting.run(second)
    added = [node for node in second.nodes() if node not in set(first.nodes())]
    return parts(counting.worker) - workers, parts(counting.driver) - driver, added


def test_a_stage_costs_a_worker_six_calls_of_the_store_and_its_weights_four(counting: Counting) -> None:
    workers, _, added = more(counting, 2, 6)
    kinds = Counter(node.kind for node in added)
    stages = kinds["shake"] + kinds["score"] + kinds["metrics"]  # there are as many pools, only larger
    assert kinds["shake"] == 8
    for call in ("create leases", "get progress", "create manifests", "delete leases"):
        assert workers[call] == stages, call
    assert workers["create blobs"] == stages + kinds["shake"]  # a curve beside the weights
    for call in ("size blobs", "get dropped", "put_file blobs", "size dropped"):  # a mark of weights let go may be there, and may come
        assert workers[call] == kinds["shake"], call
    assert workers["list progress"] == 0
    pooled = kinds["score"]  # what a larger pool hangs on; what trials share is known already
    assert workers["get manifests"] == stages + pooled  # one look under each lease
    assert workers["chunks blobs"] == pooled


def test_what_a_unit_made_itself_is_not_fetched_again_and_what_trials_share_is_fetched_once(counting: Counting) -> None:
    plan = counting.plan(4)
    counting.run(plan)
    fetched = Counter(call for call in counting.worker.calls if call.startswith("chunks "))
    assert max(fetched.values()) == 1
    shakes = {node.key for node in plan.nodes() if node.kind == "shake"}
    assert len(shakes) == 8
    manifests = [Ledger(counting.driver).manifest("shake", key) for key in shakes]
    weights = {f"chunks {Paths.blob(payload.sha256)}" for manifest in manifests if manifest for payload in manifest.payloads}
    assert len(weights) == 24
    assert not weights & set(fetched)


def test_a_driver_asks_for_nothing_a_trial_while_a_grid_runs(counting: Counting) -> None:
    _, driver, _ = more(counting, 2, 6)
    assert driver == Counter()


def test_planning_lists_each_kind_once_and_reads_nothing(counting: Counting) -> None:
    counting.run(counting.plan(2))
    whole = counting.plan(4)
    kinds = {node.kind for node in whole.nodes()}
    counting.driver.calls.clear()
    assert count(whole, Ledger(counting.driver))["shake"] == {"distinct": 8, "done": 4, "to_run": 4}
    assert sorted(counting.driver.calls) == sorted(f"list {Paths.manifests_of(kind)}" for kind in kinds)


def test_a_run_that_is_resumed_reads_each_result_once_and_lists_each_kind_twice_at_most(counting: Counting) -> None:
    half = counting.plan(2)
    counting.run(half)
    whole = counting.plan(4)
    there = [leaf for leaf in dict.fromkeys(whole.leaves()) if leaf in set(half.leaves())]
    result = counting.run(whole)
    assert result.counts() == {"done": 8, "failed": 0, "blocked": 0}
    read = Counter(call for call in counting.driver.calls if call.startswith("get manifests/"))
    assert read == Counter(f"get {Paths.manifest(leaf.kind, leaf.key)}" for leaf in there)
    assert parts(counting.driver)["get blobs"] == len(there)
    listed = Counter(call for call in counting.driver.calls if call.startswith("list manifests/"))
    assert max(listed.values()) == 2  # before, and at the end


def test_the_first_unit_runs_before_results_that_were_there_are_read(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    counting.run(counting.plan(2))
    order: list[str] = []
    monkeypatch.setattr(counting.driver, "get", lambda name, get=counting.driver.get: order.append("read") or get(name))
    create = counting.worker.create

    def created(name: str, data: bytes, *, durable: bool = True) -> str:
        order.extend(["made"] if name.startswith(Paths.manifests) else [])
        return create(name, data, durable=durable)

    monkeypatch.setattr(counting.worker, "create", created)
    counting.run(counting.plan(3))
    assert order[0] == "made"
    assert "read" in order
