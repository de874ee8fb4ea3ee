"""Trials on a Ray that is told it has GPUs: who shares one, who holds a placement group, and that a lost process loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.ray_with_gpus import ClusterHome, FakeGpus, ray_with_gpus
from tests.s2l_process import CHAOS_GRID, ROOT, Home, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

AT_WORK = "ray::RankProcess.work"
"""The title of a process while it takes part in a fit."""
INTO_THE_FIT_S = 3.0
"""Of the eight or so that it takes; the first one or two go to loading the model."""
NOTED_RUN = """\
import json, sys
from pathlib import Path
from jobs.execute.options import RunOptions
from jobs.execute.progress import Silent
from jobs.execute.run import run_plan
from jobs.plan.expand import expand
from jobs.grid.read import parse_grid
from jobs.ledger.ledger import Ledger
from jobs.store.open import open_store

class Told(Silent):
    def note(self, text):
        print(text, file=sys.stderr)

grid, store, options = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
plan = expand(parse_grid(grid.read_text(), "grid.yaml"))
ledger = Ledger(open_store(store))
result = run_plan(plan, ledger, RunOptions(store, stages="tests.noted_stages", **options), Told(), lambda *_: None)
print(json.dumps(result.counts()))
"""


def small_grid(folder: Path, methods: str = "[none, lora+dreambooth]", domains: tuple[str, ...] = ("zorvik", "mellune")) -> Path:
    text = CHAOS_GRID.replace("[DOMAIN_A, DOMAIN_B]", f"[{', '.join(domains)}]").replace("[none, lora+dreambooth]", methods)
    path = folder / "grid.yaml"
    path.write_text(text)
    return path


class Noted:
    """A run of stages that do nothing on a Ray of its own, and its notes."""

    def __init__(self, folder: Path, *, gpus: int, together: int = 0, environment: dict[str, str] | None = None, **options: Any) -> None:
        notes = folder / "notes"
        notes.mkdir()
        environment = {"NOTED_STAGES": str(notes), "NOTED_SHAKES_TOGETHER": str(together), **(environment or {})}
        with ray_with_gpus(cpus=3, gpus=gpus, environment=environment) as ray:
            home = ClusterHome(folder, ray)
            given = json.dumps({"address": ray.address, "device": "cpu", **options})
            done = subprocess.run(
                [sys.executable, "-c", NOTED_RUN, str(small_grid(folder)), str(home.store), given],
                env=home.environment() | environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.told = done.stderr
        assert json.loads(done.stdout) == {"done": 6, "failed": 0, "blocked": 0}
        self.notes: list[dict[str, Any]] = [json.loads(path.read_text()) for path in notes.glob("*.json")]
        self.shakes = [note for note in self.notes if note["kind"] == "shake"]
        self.others = [note for note in self.notes if note["kind"] != "shake"]


def at_once(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["begun"] < other["over"] and other["begun"] < one["over"])


def test_units_with_half_a_gpu_share_one_by_twos(tmp_path: Path) -> None:
    run = Noted(tmp_path, gpus=1, together=2, gpu_share=0.5)
    assert all(len(note["gpus"]) == 1 for note in run.notes)
    shared = [pair for pair in combinations(run.shakes, 2) if at_once(*pair)]
    assert shared
    assert all(one["gpus"] == other["gpus"] and one["pid"] != other["pid"] for one, other in shared)
    threes = [three for three in combinations(run.notes, 3) if len({note["pid"] for note in three}) == 3]
    assert not [three for three in threes if all(at_once(*pair) for pair in combinations(three, 2))]


def test_a_trial_of_two_processes_holds_two_gpus_of_one_placement_group_and_shared_stages_go_on_beside_it(tmp_path: Path) -> None:
    run = Noted(tmp_path, gpus=2, environment={"NOTED_OUT_OF_MEMORY": "yes"}, gpu_share=1.0, processes=2)
    assert {note["micro_batch"] for note in run.shakes} == {1}  # half of a process's two; the second one's failure was the first one's
    cells: dict[str, list[dict[str, Any]]] = {}
    for note in run.shakes:
        cells.setdefault(note["key"], []).append(note)
    assert len(cells) == 4
    for ranks in cells.values():
        assert {note["rank"] for note in ranks} == {0, 1}
        assert {note["heard"] for note in ranks} == {3.0}
        assert len({note["place"] for note in ranks}) == 1
        assert len({note["pid"] for note in ranks}) == 2
        assert len({gpu for note in ranks for gpu in note["gpus"]}) == 2
    assert all(note["size"] == 1 and len(note["gpus"]) == 1 for note in run.others)
    for one, other in combinations(run.notes, 2):
        if one["pid"] != other["pid"] and at_once(one, other):
            assert not set(one["gpus"]) & set(other["gpus"])


def test_shares_are_chosen_by_memory_and_said(tmp_path: Path) -> None:
    run = Noted(tmp_path, gpus=1, together=3, gpu_memory=6 * 2**30)
    assert [len(note["gpus"]) for note in run.shakes] == [1, 1, 1, 1]
    assert all(note["gpus"] == [] for note in run.others if note["kind"] in ("data", "base", "blind", "pooled"))
    assert "units whose largest stage is score take 1/4 GPU: about 1.0 of 6.0 GiB" in run.told
    assert "units whose largest stage is data take no GPU" in run.told


@pytest.fixture(scope="module")
def in_one_process(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("one")
    home = Home(folder)
    home.run("run", str(small_grid(folder, domains=("zorvik",))), "--workers", "1", "--no-tracking", "--set", "steps=40")
    return home


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[FakeGpus]:
    with ray_with_gpus(cpus=3, gpus=2) as found:
        yield found


def test_a_process_killed_in_the_middle_of_a_fit_is_tried_again_and_results_are_those_of_one_process(
    tmp_path: Path, ray: FakeGpus, in_one_process: Home
) -> None:
    home, grid = ClusterHome(tmp_path, ray), small_grid(tmp_path, domains=("zorvik",))
    asked = ["--address", ray.address, "--processes", "2", "--gpu-share", "1", "--device", "cpu", "--set", "steps=40", "--no-tracking"]
    driver = home.start("run", str(grid), *asked)
    assert wait_for(lambda: bool(ray.processes(AT_WORK)), "a second process at work", timeout=600, process=driver), log_of(home)
    time.sleep(INTO_THE_FIT_S)
    (victim,) = ray.processes(AT_WORK)
    victim.kill()
    assert driver.wait(900) == 0, log_of(home)
    assert "a worker was lost" in log_of(home)
    assert "a further process of this trial has ended" in log_of(home)
    made = made_of_shakes(home)
    assert [found["processes"] for found in made] == [2, 2]
    assert all("processes" not in found for found in made_of_shakes(in_one_process))
    assert_close(rows(home, grid), rows(in_one_process, grid))
    assert curves(home).keys() == curves(in_one_process).keys()
    for key, losses in curves(in_one_process).items():
        assert curves(home)[key] == pytest.approx(losses, rel=1e-3)


def log_of(home: Home) -> str:
    return "".join(path.read_text() for path in home.folder.glob("log-*"))


def rows(home: Home, grid: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(home.run("results", str(grid), "--format", "json", "--set", "steps=40").stdout)
    return found


def assert_close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    names = ("trial_key", "attack", "metric", "before", "n_member", "n_non_member")
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in expected]
    assert [row["after"] for row in found] == pytest.approx([row["after"] for row in expected], abs=0.02)


def manifests_of_shakes(home: Home) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((home.store / "manifests" / "shake").glob("*.json"))]


def made_of_shakes(home: Home) -> list[dict[str, Any]]:
    return [found["made"] for found in manifests_of_shakes(home)]


def curves(home: Home) -> dict[str, list[float]]:
    found = {}
    for manifest in manifests_of_shakes(home):
        (sha,) = [payload["sha256"] for payload in manifest["payloads"] if payload["name"] == "curve.json"]
        found[manifest["key"]] = json.loads((home.store / "blobs" / sha[:2] / sha).read_text())["loss"]
    return found
