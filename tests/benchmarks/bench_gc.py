"""How long `s2l gc` takes over a store of many stages, what it asks of the store, and what it holds in memory.

    python tests/benchmarks/bench_gc.py [--stages N] [--s3] [--json]

Commits N stages of one small file each (half of them that no grid reaches), then looks and collects. With --s3 on a SeaweedFS of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from cluster.services import seaweedfs
from jobs.ledger.collect import collect
from jobs.ledger.garbage import DAY_S, garbage
from jobs.ledger.ledger import Ledger
from jobs.store.open import open_store
from jobs.store.probe import clock_of
from jobs.store.protocol import ObjectStore
from tests.benchmarks.resident import status_mb
from tests.failing_store import FailingStore
from tests.ledger_cases import blind, chain, leave


def measure(store: ObjectStore, folder: Path, stages: int) -> dict[str, object]:
    """Seconds, calls and memory of a look and of a collection."""
    ledger, data = Ledger(store), chain()[0]
    manifest = ledger.commit(data, leave(folder, "data", {"images.parquet": b"images"}), parents={}, made={})
    nodes = [blind(seed, data) for seed in range(stages)]

    def commit(seed: int) -> None:
        out = leave(folder, f"blind-{seed}", {"blind.json": f"{seed}".encode()})
        ledger.commit(nodes[seed], out, parents={data.key: manifest}, made={})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(commit, range(stages)))
    reached = {node.key for node in nodes[: stages // 2]}
    counted = FailingStore(store)
    now, ledger = clock_of(store) + 2 * DAY_S, Ledger(counted)
    start = time.perf_counter()
    found = garbage(ledger, reached, now=now)
    looked, look_calls = time.perf_counter() - start, Counter(call.split()[0] for call in counted.calls)
    counted.calls.clear()
    start = time.perf_counter()
    collect(ledger, found, [])
    return {
        "stages": stages,
        "found": found.sums()["stages"][0],
        "look_s": round(looked, 1),
        "look_calls": dict(look_calls),
        "collect_s": round(time.perf_counter() - start, 1),
        "collect_calls": dict(Counter(call.split()[0] for call in counted.calls)),
        "peak_memory_mb": round(status_mb("VmHWM")),
        "left": len(list(store.list("blobs/"))),
    }


@contextmanager
def opened(folder: Path, s3: bool) -> Iterator[ObjectStore]:
    if not s3:
        yield open_store(str(folder / "store"))
        return
    server = seaweedfs.start(folder / "weed", buckets=["bench"])
    try:
        os.environ.update(server.environment())
        yield open_store("s3://bench/gc")
    finally:
        seaweedfs.stop(server, at_once=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=10_000)
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder), args.s3) as store:
        found = measure(store, Path(folder), args.stages)
    print(json.dumps(found) if args.json else "\n".join(f"{name:16} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
