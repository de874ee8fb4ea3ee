"""The blocked search against brute force: random and adversarial rows, ties, and what may not change a bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from s2l_core.extraction.blocks import Rows, steps
from s2l_core.extraction.search import nearest, within
from s2l_core.extraction.squares import COLUMNS, byte_squares, screened

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]
SMALL, MIDDLE, LARGE = 200_000, 1_500_000, 2**28
"""Budgets in bytes: blocks of a few rows, of some tens, and everything in one."""


def brute(queries: NDArray[Any], references: NDArray[Any]) -> NDArray[np.float64]:
    """sum((x - y)^2), pair by pair."""
    x, y = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (queries, references))
    return np.array([((y - row) ** 2).sum(axis=1) for row in x])


def agrees(queries: NDArray[Any], references: NDArray[Any], k: int, budget: int = LARGE) -> None:
    found, all_of_them = nearest(queries, references, k, budget=budget), brute(queries, references)
    order = np.argsort(all_of_them, axis=1, kind="stable")[:, :k]
    assert np.array_equal(found.place, order)
    assert np.array_equal(found.squares, np.take_along_axis(all_of_them, order, axis=1))


def noise(count: int, columns: int, seed: int, kind: Any = np.uint8) -> NDArray[Any]:
    random = np.random.default_rng(seed)
    if kind == np.uint8:
        return random.integers(0, 256, (count, columns), dtype=np.uint8)
    return random.normal(size=(count, columns)).astype(kind)


CASES = {
    "random": lambda x, y: None,
    "all-equal": lambda x, y: (x.fill(7), y.fill(7)),
    "equal-distances": lambda x, y: (x.fill(0), y.fill(9)),
    "duplicates": lambda x, y: y.__setitem__(slice(20, 40), y[:20]),
    "queries-among-references": lambda x, y: y.__setitem__(slice(5, 5 + len(x)), x),
    "constant-rows": lambda x, y: (x.__setitem__(slice(0, 9), 0), y.__setitem__(slice(0, None, 3), 255 if y.dtype == np.uint8 else 3)),
    "far-ones-first": lambda x, y: y.__setitem__(slice(None), np.sort(y, axis=0)[::-1]),
}


@pytest.mark.parametrize("kind", [np.uint8, np.float64, np.float32])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("budget", [SMALL, MIDDLE, LARGE])
def test_the_nearest_are_those_of_brute_force(kind: Any, case: str, budget: int) -> None:
    queries, references = noise(23, 48, 1, kind), noise(61, 48, 2, kind)
    CASES[case](queries, references)
    agrees(queries, references, 7, budget)


@pytest.mark.parametrize("columns", [1, 3, COLUMNS, COLUMNS + 1, 3 * COLUMNS])
def test_bytes_are_exact_whatever_the_number_of_columns(columns: int) -> None:
    queries, references = noise(12, columns, 3), noise(30, columns, 4)
    queries[0], references[0], references[1] = 0, 255, 0
    agrees(queries, references, 30)
    assert nearest(queries, references, 30).squares.max() == 255**2 * columns


def test_the_largest_sums_of_bytes_are_exact_in_float32() -> None:
    """Centred products of one chunk add up to 2^24, the last whole number before float32 skips one."""
    extreme = torch.zeros(1, COLUMNS, dtype=torch.uint8)
    assert byte_squares(extreme, extreme).item() == 0
    one_off = extreme.clone()
    one_off[0, 0] = 1
    assert byte_squares(extreme, one_off).item() == 1


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e12])
def test_numbers_that_float32_cannot_tell_apart_are_told_apart(scale: float) -> None:
    """Fifty references within one part in 10^12 of each other, in a random order: float32 sees one point."""
    random = np.random.default_rng(5)
    base = random.normal(size=300)
    steps = random.permutation(50)
    references = np.array([base + 1e-12 * step for step in steps]) * scale
    queries = references[steps == 0] - 1e-13 * scale
    found = nearest(queries, references, 50)
    assert np.array_equal(steps[found.place[0]], np.arange(50))
    for k in (1, 7, 50):
        for budget in (250_000, MIDDLE, LARGE):
            agrees(queries, references, k, budget)


def test_what_float32_lost_is_never_more_than_the_slack() -> None:
    for seed, spread in enumerate((0.0, 1.0, 4.0)):
        random = np.random.default_rng(seed)
        x, y = (random.normal(size=(40, 3000)) * np.exp(spread * random.normal(size=(40, 1))) for _ in range(2))
        found = screened(torch.from_numpy(x), torch.from_numpy(y))
        assert (np.abs(found.value.numpy() - brute(x, y)) <= found.slack.numpy()).all()


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_no_budget_and_no_order_of_blocks_changes_a_bit(kind: Any) -> None:
    queries, references = noise(40, 1500, 6, kind), noise(90, 1500, 7, kind)
    references[45:] = references[:45]
    whole = nearest(queries, references, 9)
    for budget in (350_000, 500_000, MIDDLE, 4_000_000):
        again = nearest(queries, references, 9, budget=budget)
        assert np.array_equal(again.place, whole.place)
        assert again.squares.tobytes() == whole.squares.tobytes()


def test_the_order_of_queries_changes_no_query_and_that_of_references_only_names() -> None:
    queries, references = noise(30, 700, 8, np.float64), noise(50, 700, 9, np.float64)
    mine, theirs = np.random.default_rng(0).permutation(30), np.random.default_rng(1).permutation(50)
    whole, again = nearest(queries, references, 5), nearest(queries[mine], references[theirs], 5)
    assert again.squares.tobytes() == whole.squares[mine].tobytes()
    assert np.array_equal(theirs[again.place], whole.place[mine])


def test_threads_change_no_bit() -> None:
    queries, references = noise(64, 2000, 10, np.float32), noise(300, 2000, 11, np.float32)
    whole = nearest(queries, references, 6)
    torch.set_num_threads(2)
    try:
        again = nearest(queries, references, 6)
    finally:
        torch.set_num_threads(1)
    assert np.array_equal(again.place, whole.place)
    assert again.squares.tobytes() == whole.squares.tobytes()


def test_the_inputs_are_left_as_they_were() -> None:
    for kind in (np.uint8, np.float64, np.float32):
        queries, references = noise(9, 40, 1, kind), noise(9, 40, 2, kind)
        before = queries.copy(), references.copy()
        nearest(queries, references, 3)
        list(within(queries, references, 1e9))
        assert np.array_equal(queries, before[0])
        assert np.array_equal(references, before[1])


class Loader:
    """A set that is never there as a whole."""

    def __init__(self, rows: NDArray[Any]) -> None:
        self._rows, self.shape, self.dtype, self.largest = rows, rows.shape, rows.dtype, 0

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        self.largest = max(self.largest, rows.stop - rows.start)
        return self._rows[rows].copy()


def test_a_loader_is_asked_for_blocks_alone(tmp_path: Path) -> None:
    queries, references = noise(60, 300, 12), noise(200, 300, 13)
    loaders = Loader(queries.reshape(60, 10, 10, 3)), Loader(references.reshape(200, 10, 10, 3))
    np.save(tmp_path / "rows.npy", references)
    mapped: Rows = np.lib.format.open_memmap(tmp_path / "rows.npy", mode="r")
    whole = nearest(queries, references, 4)
    for found in (nearest(*loaders, 4, budget=MIDDLE), nearest(queries, mapped, 4, budget=MIDDLE)):
        assert np.array_equal(found.place, whole.place)
    assert loaders[0].largest < 60
    assert loaders[1].largest < 200


# --- all pairs within a limit ---


def pairs_of(queries: NDArray[Any], references: NDArray[Any], limits: Any, **options: Any) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = {}
    for block in within(queries, references, limits, **options):
        for i, j, squares in zip(*block, strict=True):
            assert (i, j) not in found
            found[int(i), int(j)] = float(squares)
    return found


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
@pytest.mark.parametrize("budget", [SMALL, MIDDLE, LARGE])
def test_within_a_limit_are_the_pairs_of_brute_force_and_those_at_the_limit(kind: Any, budget: int) -> None:
    queries, references = noise(30, 40, 14, kind), noise(45, 40, 15, kind)
    everything = brute(queries, references)
    limits = np.sort(everything, axis=1)[:, 3]
    found = pairs_of(queries, references, limits, budget=budget)
    assert found == {(i, j): everything[i, j] for i, j in zip(*np.nonzero(everything <= limits[:, None]), strict=True)}
    assert len(found) == 4 * 30


@pytest.mark.parametrize("budget", [SMALL, MIDDLE, LARGE])
def test_a_set_with_itself_gives_each_pair_once(budget: int) -> None:
    rows = noise(70, 12, 16)
    rows[10:15] = rows[60]
    everything, limit = brute(rows, rows), 60_000.0
    found = pairs_of(rows, rows, limit, later=True, budget=budget)
    assert found == {(i, j): everything[i, j] for i in range(70) for j in range(i + 1, 70) if everything[i, j] <= limit}
    assert (12, 60) in found


def test_no_pair_within_the_limit_is_no_pair() -> None:
    assert pairs_of(noise(5, 9, 1), noise(6, 9, 2), 0.0) == {}


# --- what is refused, and memory ---


def test_what_does_not_go_together_is_refused() -> None:
    rows = noise(4, 6, 1)
    with pytest.raises(ValueError, match="k is 5; there are 4 references, so that it must be 1 to 4"):
        nearest(rows, rows, 5)
    with pytest.raises(ValueError, match=r"one shape and type, uint8 or floating-point; got uint8 \[4, 6\] and uint8 \[4, 5\]"):
        nearest(rows, rows[:, :5], 1)
    with pytest.raises(ValueError, match=r"got uint8 \[4, 6\] and float64 \[4, 6\]"):
        nearest(rows, rows.astype(np.float64), 1)
    with pytest.raises(ValueError, match=r"got int64 \[4, 6\]"):
        nearest(rows.astype(np.int64), rows.astype(np.int64), 1)
    with pytest.raises(ValueError, match="a budget of 1,000 bytes holds no two rows of"):
        nearest(rows, rows, 1, budget=1000)
    broken = rows.astype(np.float64)
    broken[2, 3] = np.nan
    with pytest.raises(ValueError, match="rows 0 to 4 hold numbers that are not finite or beyond 1e15"):
        nearest(broken, broken, 1)


@pytest.mark.parametrize(("n", "m"), [(10**5, 10**5), (3, 10**5), (10**5, 3), (1, 1)])
def test_a_block_stays_within_its_budget(n: int, m: int) -> None:
    for row, cell, budget in ((37_000, 168, 2**28), (100, 10, 5000), (4000, 10, 8010)):
        first, second = steps(n, m, row=row, cell=cell, budget=budget)
        assert 1 <= first <= n
        assert 1 <= second <= m
        assert (first + second) * row + first * second * cell <= budget


PEAK = """
import ctypes, json, sys
import numpy as np, torch
torch.set_num_threads(1)
from s2l_core.extraction.search import nearest, within
count, budget, case = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
random = np.random.default_rng(0)
def rows(number):
    if case == "equal":
        return np.full((number, 16, 16, 3), 9, dtype=np.uint8)
    made = random.integers(0, 256, (number, 16, 16, 3), dtype=np.uint8)
    return made if case == "bytes" else (made / 255).astype(np.float32)
nearest(rows(50), rows(50), 5)  # what the libraries load when they are first called
x, y = rows(count), rows(count)
ctypes.CDLL(None).malloc_trim(0)  # what making the rows left free would hide what the search takes
open("/proc/self/clear_refs", "w").write("5")  # the peak so far is forgotten
def told(name):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))
before = told("VmRSS")
found = nearest(x, y, 5, budget=budget)
json.dump({"added": told("VmHWM") - before, "returned": found.place.nbytes + found.squares.nbytes}, sys.stdout)
"""


@pytest.mark.parametrize(
    ("case", "count"),
    [
        pytest.param("bytes", 20_000, marks=pytest.mark.slow),
        pytest.param("floats", 4_000),
        pytest.param("equal", 4_000),
    ],
)
def test_a_search_holds_no_more_than_its_budget(case: str, count: int) -> None:
    """20,000 x 20,000 distances are 3.2 GB; the search is given 64 MB. Where all are equal, every pair of a block is a candidate."""
    budget = 2**26
    arguments = [sys.executable, "-c", PEAK, str(count), str(budget), case]
    told = json.loads(subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert told["added"] <= budget + told["returned"] + 2**23, "8 MB for the interpreter and the libraries"
    assert told["added"] > budget // 8, "a search that held nothing was not measured"
