"""Nearest neighbours of images: our blocked exact search against two ways to write it plainly, on one set of images.

    OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/bench_extraction.py [--queries N] [--references N] [--side N] [--json]
    OMP_NUM_THREADS=1 .venv/bin/python tests/benchmarks/bench_extraction.py --alone --queries 100000 --references 100000 --side 64

`cdist` takes torch.cdist and topk over blocks of queries, all references at once, in float32. `pairs` computes one pair of images at a
time, as a first script would; it is timed on a part of the queries and scaled up. All run one thread; times are CPU time of this process.
The peaks are the resident memory that each adds, in a process of its own. `--alone` is for sizes that nothing else could do: ours once,
with a few of its answers checked pair by pair.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from resident import added_mb

from s2l_core.extraction.search import nearest

K = 5
CDIST_QUERIES = 256
PAIRS_QUERIES = 2
Images = NDArray[np.uint8]
Found = tuple[NDArray[np.int64], NDArray[np.float64]]


def pictures(count: int, side: int, seed: int) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def ours(queries: Images, references: Images) -> Found:
    found = nearest(queries, references, K)
    return found.place, np.sqrt(found.squares / queries[0].size) / 255


def by_cdist(queries: Images, references: Images) -> Found:
    """A block of queries against everything."""
    flat = torch.from_numpy(references).flatten(1).float() / 255
    places, distances = [], []
    for first in range(0, len(queries), CDIST_QUERIES):
        part = torch.from_numpy(queries[first : first + CDIST_QUERIES]).flatten(1).float() / 255
        best = torch.cdist(part, flat).topk(K, dim=1, largest=False)
        places.append(best.indices.numpy())
        distances.append(best.values.numpy() / flat.shape[1] ** 0.5)
    return np.concatenate(places), np.concatenate(distances)


def by_pairs(queries: Images, references: Images) -> Found:
    """One pair at a time, with the queries of `PAIRS_QUERIES` alone."""
    places, distances = [], []
    for query in queries[:PAIRS_QUERIES]:
        row = np.array([np.sqrt((((query / 255) - (image / 255)) ** 2).mean()) for image in references])
        order = np.argsort(row, kind="stable")[:K]
        places.append(order)
        distances.append(row[order])
    return np.array(places), np.array(distances)


WAYS: dict[str, Callable[[Images, Images], Found]] = {"ours": ours, "cdist": by_cdist, "pairs": by_pairs}


def peak_of(way: str, queries: Images, references: Images) -> float:
    """Resident memory in MB that a way adds at its highest, in this process."""
    WAYS[way](queries[:8], references[:8])
    return added_mb(lambda: WAYS[way](queries, references))


def measure(sizes: list[int], repeats: int) -> dict[str, Any]:
    """Median CPU seconds of all ways, interleaved, for all queries; how they agree; and what memory they add."""
    count, others, side = sizes
    queries, references = pictures(count, side, 0), pictures(others, side, 1)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    found: dict[str, Found] = {}
    for run in WAYS.values():
        run(queries[:8], references[:8])  # warm up
    for _ in range(repeats):
        for way, run in WAYS.items():
            start = time.process_time()
            found[way] = run(queries, references)
            part = PAIRS_QUERIES / count if way == "pairs" else 1.0
            seconds[way].append((time.process_time() - start) / part)
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        "sizes": {"queries": count, "references": others, "side": side, "k": K},
        "repeats": repeats,
        "cpu_seconds": medians,
        "ratio_to_ours": {way: value / medians["ours"] for way, value in medians.items()},
        "largest_difference_of_distances": {
            way: float(np.abs(found[way][1] - found["ours"][1][: len(found[way][1])]).max()) for way in ("cdist", "pairs")
        },
        "added_mb": {way: _in_a_process(way, sizes) for way in ("ours", "cdist")},
    }


def alone(queries: Images, references: Images) -> dict[str, Any]:
    """Ours once: CPU seconds, the memory it adds, and how a few queries' answers agree with computing every pair of theirs."""
    ours(queries[:8], references[:8])
    found: list[Found] = []
    start = time.process_time()
    added = added_mb(lambda: found.append(ours(queries, references)))
    seconds = time.process_time() - start
    places, distances = found[0]
    checked = np.linspace(0, len(queries) - 1, PAIRS_QUERIES).astype(int)
    pairs = by_pairs(queries[checked], references)
    return {
        "cpu_seconds": seconds,
        "added_mb": added,
        "same_neighbours": bool((pairs[0] == places[checked]).all()),
        "largest_difference_of_distances": float(np.abs(pairs[1] - distances[checked]).max()),
    }


def _in_a_process(way: str, sizes: list[int]) -> float:
    arguments = [
        sys.executable,
        __file__,
        "--peak",
        way,
        "--queries",
        str(sizes[0]),
        "--references",
        str(sizes[1]),
        "--side",
        str(sizes[2]),
    ]
    return float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--references", type=int, default=2000)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", choices=list(WAYS), help="instead: print the memory in MB that one way adds")
    parser.add_argument("--alone", action="store_true", help="instead: ours once, with its time, memory and a check of a few answers")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [options.queries, options.references, options.side]
    if options.peak:
        print(peak_of(options.peak, pictures(sizes[0], sizes[2], 0), pictures(sizes[1], sizes[2], 1)))
        return
    found = alone(pictures(*sizes[::2], 0), pictures(*sizes[1:], 1)) if options.alone else measure(sizes, options.repeats)
    if options.json:
        json.dump(found, sys.stdout)
        return
    for name, value in found.items():
        print(f"{name:<36} {value}")


if __name__ == "__main__":
    main()
