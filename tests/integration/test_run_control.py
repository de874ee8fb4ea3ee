"""Runs that others control, in processes of their own: detached to a real Ray cluster, followed, cancelled, gone on with. Equal results."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.ray_head import RayHead, ray_head
from tests.s2l_process import Home, kill_tree, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

GRID = """\
name: controlled
fixed: {model: tiny, sp_size: 8, sp_steps: 4, steps: STEPS, batch: 4, lr: 1.0e-2, alpha: rank, bootstrap: 100, attacks: [pia], data: DATA}
axes:
  domain: [zorvik]
  method: [lora+dreambooth]
  rank: [1, 2, 4]
"""
SECRET = "AKIAPLANTEDSECRET"


def write_grid(folder: Path, data: str = "tiny-faces", steps: int = 30) -> Path:
    """So many steps that a run lasts longer than the two commands which ask it to end take to start."""
    path = folder / "controlled.yaml"
    path.write_text(GRID.replace("DATA", data).replace("STEPS", str(steps)))
    return path


class World:
    """A home whose processes keep their scratch files in it."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        (folder / "tmp").mkdir()
        self.variables = self.home.environment() | {"TMPDIR": str(folder / "tmp")}

    def call(self, *args: str, check: int = 0, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.home.command(*args),
            cwd=self.home.folder,
            env=self.variables | (more or {}),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == check, f"{args} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def start(self, *args: str, more: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        with (self.home.folder / "log").open("w") as log:
            return subprocess.Popen(
                self.home.command(*args), cwd=self.home.folder, env=self.variables | (more or {}), stdout=log, stderr=log, text=True
            )

    def runs(self, grid: Path) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.call("status", str(grid), "--json").stdout)["runs"]
        return found

    def kinds(self) -> list[str]:
        return [Path(name).parent.name for name in self.home.manifests()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The results of the grid when nobody interferes."""
    world = World(tmp_path_factory.mktemp("expected"))
    grid = write_grid(world.home.folder)
    world.call("run", str(grid), "--local", "--no-tracking")
    return world.home.results(str(grid))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    """A head whose nodes hold a secret, as real ones hold those of their store."""
    folder = tmp_path_factory.mktemp("cluster")
    environment = Home(folder).environment() | {"TMPDIR": str(folder), "AWS_SECRET_ACCESS_KEY": SECRET}
    with ray_head(environment) as head:
        yield head


def test_a_detached_run_lives_on_when_the_laptop_is_killed_and_its_folders_are_gone(
    world: World, cluster: RayHead, tmp_path: Path, expected: bytes
) -> None:
    from s2l_core import faces
    from tests.planted_folders import write_folder

    pictures = write_folder(tmp_path / "pictures", faces.records("zorvik", seed=0, members=8, non_members=8))
    grid = write_grid(tmp_path, str(pictures))
    laptop = cluster.variables() | {"AWS_SECRET_ACCESS_KEY": SECRET}
    submitting = world.start(
        "run", str(grid), "--detach", "--no-tracking", "--budget", "100", "--cluster-python", sys.executable, more=laptop
    )
    assert wait_for(lambda: any((world.home.store / "runs").rglob("run.json")), "a submitted run")
    assert wait_for(lambda: submitting.poll() is not None or "submitted s2l-" in (tmp_path / "log").read_text(), "the submission")
    kill_tree(submitting)
    told = (tmp_path / "log").read_text()
    assert "next: s2l attach" in told, told
    pictures.rename(tmp_path / "elsewhere")
    grid.unlink()
    done = world.call("attach", "controlled", more=cluster.variables())
    assert "3 done, 0 failed" in done.stdout
    assert "[1/" in done.stderr
    again = json.loads(world.call("attach", "controlled", "--json").stdout)
    assert (again["trials"], again["stopped"]) == ({"done": 3, "failed": 0, "blocked": 0}, None)
    (tmp_path / "elsewhere").rename(pictures)
    write_grid(tmp_path, str(pictures))
    other = World(tmp_path / "other") if (tmp_path / "other").mkdir() is None else None
    assert other is not None
    other.call("run", str(grid), "--local", "--no-tracking")
    assert world.home.results(str(grid)) == other.home.results(str(grid))
    assert_no_secret(world, cluster, [path for path in (tmp_path / "store" / "runs").rglob("*") if path.is_file()])


def assert_no_secret(world: World, cluster: RayHead, files: list[Path]) -> None:
    """Neither what the store knows of the run nor what the job server tells of the job holds a secret of the laptop or of the nodes."""
    import urllib.request

    request = urllib.request.Request(f"{cluster.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {cluster.token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        jobs = answer.read().decode()
    assert "jobs.cli drive controlled/" in jobs
    assert files
    for text in (jobs, *(path.read_text() for path in files)):
        assert SECRET not in text
        assert cluster.token not in text


def test_a_job_server_that_refuses_or_does_not_answer_is_told_with_what_to_set(world: World, cluster: RayHead) -> None:
    grid = write_grid(world.home.folder)
    wrong = cluster.variables() | {"RAY_AUTH_TOKEN": "0" * 64}
    assert "RAY_AUTH_TOKEN" in world.call("run", str(grid), "--detach", more=wrong, check=4).stderr
    nobody = cluster.variables() | {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9"}
    assert "did not take the run" in world.call("run", str(grid), "--detach", more=nobody, check=4).stderr
    assert {run["state"] for run in world.runs(grid)} == {"ended"}


def test_a_job_whose_python_has_no_s2l_is_told_to_whoever_attaches(world: World, cluster: RayHead) -> None:
    grid = write_grid(world.home.folder)
    world.call("run", str(grid), "--detach", "--no-tracking", "--cluster-python", "/no/such/python", more=cluster.variables())
    told = world.call("attach", str(grid), more=cluster.variables(), check=4).stderr
    assert "never began" in told
    assert "/no/such/python" in told


def test_a_detached_run_is_cancelled_through_the_store_and_ends_with_130(world: World, cluster: RayHead, expected: bytes) -> None:
    grid = write_grid(world.home.folder)
    world.call("run", str(grid), "--detach", "--no-tracking", "--cluster-python", sys.executable, more=cluster.variables())
    assert "has not begun" in world.call("status", str(grid)).stdout or world.runs(grid)[-1]["state"] == "running"
    asked = json.loads(world.call("cancel", str(grid), "--json").stdout)
    assert asked["asked"] == "drain"
    answer = json.loads(world.call("attach", str(grid), "--json", check=130).stdout)
    assert answer["stopped"]["why"] == "cancelled"
    assert answer["stopped"]["left"]["trials"] > 0
    kept = world.home.manifests()
    world.call("run", str(grid), "--local", "--no-tracking")
    assert world.home.results(str(grid)) == expected
    assert kept.items() <= world.home.manifests().items(), "a committed stage was made again"


@pytest.mark.parametrize("how", ["drain", "stop"])
def test_a_cancelled_run_ends_with_130_and_the_next_does_the_rest_and_nothing_twice(world: World, expected: bytes, how: str) -> None:
    grid = write_grid(world.home.folder)
    driver = world.start("run", str(grid), "--workers", "1", "--no-tracking", "--json")
    assert wait_for(lambda: "sp" in world.kinds(), "the SP set", process=driver)
    assert f"process {driver.pid} on" in world.call("status", str(grid)).stdout
    world.call("cancel", str(grid), *(["--now"] if how == "stop" else []))
    assert driver.wait(600) == 130
    kept = world.home.manifests()
    shakes = world.kinds().count("shake")
    assert shakes < 3
    if how == "drain":
        assert world.kinds().count("score") >= shakes  # a cell that had begun was not cut off
        assert '"why": "cancelled"' in (world.home.folder / "log").read_text()
    last = world.runs(grid)[-1]
    assert (last["state"], last["exit_code"]) == ("ended", 130)
    assert "no run of" in world.call("cancel", str(grid), check=2).stderr
    world.call("run", str(grid), "--local", "--no-tracking")
    assert world.home.results(str(grid)) == expected
    assert kept.items() <= world.home.manifests().items(), "a committed stage was made again"


def test_a_run_that_waits_for_a_cluster_without_workers_can_be_cancelled(world: World) -> None:
    grid, head_env = write_grid(world.home.folder), world.variables | {"TMPDIR": str(world.home.folder)}
    log = world.home.folder / "log"

    def waits() -> bool:
        return "waiting for one that has room for" in log.read_text()

    with ray_head(head_env, cpus=0) as head:
        driver = world.start("run", str(grid), "--no-tracking", "--address", head.gcs, more=head.variables())
        assert wait_for(waits, "the wait to be told", process=driver), log.read_text()
        world.call("cancel", str(grid))
        assert driver.wait(120) == 130, log.read_text()
        assert "cancelled by s2l cancel; left: 14 stages of 3 trials" in log.read_text()


def test_cancel_now_stops_in_the_middle_of_a_shake_and_leaves_its_checkpoint(world: World) -> None:
    grid = write_grid(world.home.folder, steps=100_000)
    driver = world.start("run", str(grid), "--workers", "1", "--no-tracking")
    assert wait_for(lambda: bool(checkpoints(world)), "a checkpoint of the shake", process=driver, timeout=600)
    world.call("cancel", str(grid), "--now")
    assert driver.wait(300) == 130
    assert "shake" not in world.kinds()
    assert checkpoints(world)
    assert "stopping now" in (world.home.folder / "log").read_text()
    assert world.runs(grid)[-1]["exit_code"] == 130


def checkpoints(world: World) -> list[Path]:
    """Files of checkpoints of stages that come after the SP set."""
    if "sp" not in world.kinds():
        return []
    return [path for path in (world.home.store / "progress").rglob("*") if path.is_file() and path.name != "index.json"]


def test_leaving_attach_ends_the_looking_and_not_the_run(world: World) -> None:
    grid = write_grid(world.home.folder, steps=100_000)
    driver = world.start("run", str(grid), "--local", "--no-tracking")
    assert wait_for(lambda: "sp" in world.kinds(), "the SP set", process=driver)
    with (world.home.folder / "looking").open("w") as log:
        looking = subprocess.Popen(world.home.command("attach", str(grid)), cwd=world.home.folder, env=world.variables, stderr=log)
    assert wait_for(lambda: "stages to run" in (world.home.folder / "looking").read_text(), "its lines", process=looking)
    looking.send_signal(signal.SIGINT)
    assert looking.wait(60) == 130
    assert driver.poll() is None
    driver.send_signal(signal.SIGTERM)  # as a scheduler does before its time limit
    assert driver.wait(120) == 130
    assert world.runs(grid)[-1]["exit_code"] == 130
    kill_grid = world.start("run", str(grid), "--local", "--no-tracking")
    assert wait_for(lambda: any(run["state"] == "running" for run in world.runs(grid)), "the second run", process=kill_grid)
    kill_tree(kill_grid)
    told = world.call("attach", str(grid), check=130).stderr
    assert "its driver is gone" in told
