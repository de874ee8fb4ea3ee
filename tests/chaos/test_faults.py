"""The shorter tier of `make chaos`: every kind of fault once or twice, outages of seconds; nothing lost, nothing twice, the user told.

`python -m tests.chaos` injects over a hundred, at other moments for every seed (docs/reliability.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.chaos.beds import has_postgres
from tests.chaos.faults.every import faults_of
from tests.chaos.faults.stages import can_limit_memory
from tests.chaos.grid import Undisturbed, undisturbed
from tests.chaos.run_chaos import BEDS, ZYGOTE, one_grid
from tests.namespaces import needs_namespaces

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
DOWN_S, BAD_S, HUNG_S, SEEDS, SEED = 6.0, 3.0, 20.0, 3, 7


@dataclass(frozen=True)
class Grid:
    """One run of the grid: where, and which faults are thrown at it."""

    bed: str
    faults: str


GRIDS = {
    "drivers are killed, interrupted, warned, joined, and what lies in the store goes bad": Grid(
        "folder-local",
        "driver-killed driver-killed ctrl-c driver-warned two-drivers clock-ahead clock-behind "
        "payload-corrupted payload-corrupted manifest-truncated disk-full nan-loss oom-allocator oom-rlimit",
    ),
    "workers die, hang, are warned, and are poisoned": Grid(
        "folder", "worker-killed worker-killed worker-warned oom-cgroup hung driver-killed poison"
    ),
    "the store fails, and MLflow in the middle": Grid(
        "services-local",
        "mlflow-down-middle store-down store-killed store-500 store-503 store-503-all store-slowdown store-slow upload-reset store-clock",
    ),
    "MLflow fails": Grid("services-local", "mlflow-down-start mlflow-503 postgres-restarted driver-killed mlflow-down-end"),
    "MLflow is not there at all": Grid("services-local", "mlflow-down-long"),
    "nodes and the head go": Grid("nodes", "node-gone head-restarted"),
}
CANNOT = {"oom-cgroup": can_limit_memory, "postgres-restarted": lambda: "" if has_postgres() else "PostgreSQL is not installed"}


@pytest.fixture(scope="module", autouse=True)
def forks() -> Iterator[None]:
    """What drivers are forked from ends with the tests."""
    yield
    ZYGOTE.close()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return undisturbed(tmp_path_factory.mktemp("undisturbed"), SEEDS, HUNG_S)


def cases() -> Iterator[ParameterSet]:
    for name, grid in GRIDS.items():
        yield pytest.param(grid, id=name, marks=() if grid.bed.startswith("folder") else pytest.mark.cluster)


@pytest.mark.parametrize("grid", list(cases()))
def test_results_are_the_same_when(grid: Grid, tmp_path: Path, reference: Undisturbed) -> None:
    if grid.bed == "nodes":
        needs_namespaces()
    known = {fault.name: fault for fault in faults_of(grid.bed, down_s=DOWN_S, bad_s=BAD_S)}
    wanted = [known[name] for name in grid.faults.split() if not (name in CANNOT and CANNOT[name]())]
    lines = one_grid(tmp_path / "world", reference, grid.bed, wanted, 0, SEED, print)
    injected = [line["fault"] for line in lines if "fault" in line]
    assert sorted(injected) == sorted(fault.name for fault in wanted), "the grid was over before all were injected"


def test_every_fault_there_is_belongs_to_the_shorter_tier() -> None:
    there_are = {fault.name for bed in BEDS for fault in faults_of(bed)}
    assert there_are == {name for grid in GRIDS.values() for name in grid.faults.split()}
