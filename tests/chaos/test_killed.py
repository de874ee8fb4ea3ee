"""kill -9 of the driver and of a worker, two drivers at once: the same numbers, nothing committed done twice, no MLflow run doubled.

On a small grid by default; `make chaos` does the same to `quickstart`.
"""

from __future__ import annotations

import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.s2l_process import Home, chaos_grid, kill_tree, ray_workers, wait_for

pytestmark = pytest.mark.timeout(3600)
Reference = tuple[Home, Path, bytes]
MOMENTS = [0.05, 0.25, 0.45, 0.65, 0.85]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("undisturbed")
    home, grid = Home(folder), chaos_grid(folder)
    home.run("run", str(grid), "--workers", "2", "--no-tracking")
    return home, grid, home.results(str(grid))


def assert_finished_alike(home: Home, grid: Path, before: dict[str, str], undisturbed: Reference) -> None:
    answer = home.json("run", str(grid), "--workers", "2")
    reference, _, expected = undisturbed
    assert answer["trials"]["failed"] == answer["trials"]["blocked"] == 0
    assert home.results(str(grid)) == expected
    after = home.manifests()
    assert {name: after[name] for name in before} == before, "a committed stage was made again"
    assert set(after) == set(reference.manifests())
    assert_no_run_is_doubled(home, expected_trials=answer["trials"]["done"])
    again = home.json("run", str(grid))
    assert again["stages"]["ran"] == 0


def assert_no_run_is_doubled(home: Home, expected_trials: int) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(home.tracking)
    runs = [run for experiment in client.search_experiments() for run in client.search_runs([experiment.experiment_id], max_results=1000)]
    children = Counter(run.data.tags["s2l.trial_key"] for run in runs if "s2l.trial_key" in run.data.tags)
    assert len(children) == expected_trials
    assert set(children.values()) == {1}
    assert sum("mlflow.parentRunId" not in run.data.tags for run in runs) == 1


def test_a_driver_killed_at_five_moments_is_finished_by_the_same_command(tmp_path: Path, undisturbed: Reference) -> None:
    total = len(undisturbed[0].manifests())
    home, grid = Home(tmp_path), chaos_grid(tmp_path)
    kept: dict[str, str] = {}
    for moment in MOMENTS:
        driver = home.start("run", str(grid), "--workers", "2")
        alive = wait_for(lambda: len(home.manifests()) >= max(1, int(moment * total)), "the moment to kill", process=driver)  # noqa: B023
        assert alive, "the grid was over before it was killed"
        kill_tree(driver)
        now = home.manifests()
        assert {name: now[name] for name in kept} == kept, "a committed stage was made again"
        assert len(now) < total
        kept = now
    assert_finished_alike(home, grid, kept, undisturbed)


def test_workers_killed_at_five_moments_cost_nothing_that_was_committed(tmp_path: Path, undisturbed: Reference) -> None:
    total = len(undisturbed[0].manifests())
    home, grid = Home(tmp_path), chaos_grid(tmp_path)
    driver = home.start("run", str(grid), "--workers", "2")
    kept: dict[str, str] = {}
    killed: set[int] = set()
    for moment in MOMENTS:

        def a_fresh_worker(moment: float = moment) -> bool:
            workers = {worker.pid for worker in ray_workers(driver.pid)}
            return len(home.manifests()) >= int(moment * total) and bool(workers - killed)

        if not wait_for(a_fresh_worker, "a worker to kill", process=driver):
            break
        kept = kept | home.manifests()
        victim = random.Random(moment).choice([worker for worker in ray_workers(driver.pid) if worker.pid not in killed])
        killed.add(victim.pid)
        victim.kill()
    assert driver.wait(400) == 0
    assert len(killed) == len(MOMENTS), "the grid was over before all five were killed"
    assert_finished_alike(home, grid, kept, undisturbed)


def test_two_drivers_on_one_grid_share_the_work(tmp_path: Path, undisturbed: Reference) -> None:
    home, grid = Home(tmp_path), chaos_grid(tmp_path)
    drivers = [home.start("run", str(grid), "--workers", "1") for _ in range(2)]
    assert [driver.wait(400) for driver in drivers] == [0, 0]
    assert_finished_alike(home, grid, home.manifests(), undisturbed)


def test_ctrl_c_twice_ends_with_130_and_the_same_command_goes_on(tmp_path: Path, undisturbed: Reference) -> None:
    home, grid = Home(tmp_path), chaos_grid(tmp_path)
    driver = home.start("run", str(grid), "--workers", "2")
    wait_for(lambda: len(home.manifests()) >= 3, "a few stages", process=driver)
    driver.send_signal(signal.SIGINT)
    try:
        driver.wait(1.0)
    except subprocess.TimeoutExpired:
        driver.send_signal(signal.SIGINT)
    assert driver.wait(60) == 130
    assert_finished_alike(home, grid, home.manifests(), undisturbed)
