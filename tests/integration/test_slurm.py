"""The sbatch script on a real Slurm of three nodes: a whole grid, a node lost, scancel, and the end of the time limit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.namespaces import TEMP, Host
from tests.s2l_process import ROOT, Home, chaos_grid, wait_for
from tests.slurm_cluster import SlurmCluster, slurm_cluster, why_not

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SCRIPT = ROOT / "cluster/launch/slurm/s2l.sbatch"
FAST_LOSS = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "4000", "RAY_health_check_failure_threshold": "3"}
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    if reason := why_not():
        pytest.skip(reason)
    with slurm_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """Results of the same grid in one process, and its number of stages."""
    folder = tmp_path_factory.mktemp("local")
    home, grid = Home(folder), chaos_grid(folder)
    home.run("run", str(grid), "--local", "--no-tracking")
    return home.results(str(grid)), len(home.manifests())


class Submitted:
    """A grid's home that all nodes see, and its newest job."""

    def __init__(self, slurm: SlurmCluster, folder: Path) -> None:
        self.slurm, self.home, self.grid = slurm, Home(folder), chaos_grid(folder)
        self.number = ""

    def submit(self, *options: str, **settings: str) -> None:
        self.slurm.wait_until_idle()
        given = {"S2L_BIN": str(ROOT / ".venv/bin"), "PYTHONPATH": str(ROOT), "S2L_STORE": str(self.home.store)}
        here = {"S2L_TMP": str(TEMP), "TMPDIR": str(TEMP), "S2L_NODE_CPUS": "1"}
        words = ["sbatch", "--parsable", *options, str(SCRIPT), str(self.grid), "--no-tracking", "--json"]
        self.number = self.slurm.ask(*words, cwd=self.home.folder, env=given | here | FAST_LOSS | settings)

    def state(self) -> str:
        return self.slurm.job(self.number)["JobState"]

    def log(self) -> str:
        path = self.home.folder / f"s2l-{self.number}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for_stages(self, number: int) -> None:
        wait_for(lambda: len(self.home.manifests()) >= number or self.state() in OVER, f"{number} stages", timeout=600)
        assert self.state() == "RUNNING", self.log()

    def wait_for_end(self) -> str:
        wait_for(lambda: self.state() in OVER, "the end of the job", timeout=900)
        return self.state()

    def answer(self) -> dict[str, dict[str, int]]:
        """The JSON document of the last run in the log."""
        found: dict[str, dict[str, int]] = json.loads([line for line in self.log().splitlines() if line.startswith('{"grid"')][-1])
        return found

    def assert_done(self, expected: bytes) -> None:
        assert self.wait_for_end() == "COMPLETED", self.log()
        assert self.answer()["trials"] == {"done": 6, "failed": 0, "blocked": 0}
        assert self.home.results(str(self.grid)) == expected


@pytest.fixture
def submitted(slurm: SlurmCluster, tmp_path: Path) -> Iterator[Submitted]:
    job = Submitted(slurm, tmp_path)
    yield job
    if job.number and job.state() not in OVER:
        slurm.ask("scancel", job.number)
        job.wait_for_end()


def commands_of(host: Host) -> list[str]:
    """What runs on a host beside its slurmd."""
    found = []
    for pid in host.pids():
        try:
            words = " ".join(psutil.Process(pid).cmdline())
        except psutil.NoSuchProcess:
            continue
        if words and not words.startswith("slurmd -D"):
            found.append(words)
    return found


def assert_nothing_is_left(slurm: SlurmCluster, number: str) -> None:
    wait_for(lambda: not any(commands_of(host) for host in slurm.hosts.values()), "the end of all processes of the job", timeout=60)
    assert [path for host in slurm.hosts.values() for path in host.folder.glob(f"s2l-ray-{number}")] == []


def test_a_grid_on_three_nodes_ends_as_in_one_process(slurm: SlurmCluster, submitted: Submitted, expected: tuple[bytes, int]) -> None:
    submitted.submit()
    submitted.assert_done(expected[0])
    assert "going on with those" not in submitted.log(), "a node did not come"
    made = [json.loads(path.read_text())["made"]["host"] for path in (submitted.home.store / "manifests").rglob("*.json")]
    assert len(set(made)) >= 2, f"one node did everything: {set(made)}"
    assert set(made) <= set(slurm.hosts)
    assert_nothing_is_left(slurm, submitted.number)


def test_a_lost_node_ends_neither_the_job_nor_the_grid(slurm: SlurmCluster, submitted: Submitted, expected: tuple[bytes, int]) -> None:
    submitted.submit(RAY_gcs_rpc_server_reconnect_timeout_s="15")
    submitted.wait_for_stages(3)
    first = submitted.slurm.job(submitted.number)["BatchHost"]
    lost = next(name for name in reversed(slurm.hosts) if name != first)
    wait_for(lambda: any("Trainable" in words for words in commands_of(slurm.hosts[lost])), "a worker on the node to lose", timeout=300)
    assert submitted.state() == "RUNNING"
    slurm.lose(lost)
    slurm.ask("scontrol", "update", f"nodename={lost}", "state=down", "reason=lost")  # what Slurm finds out by itself after a while
    try:
        submitted.assert_done(expected[0])
        assert slurm.node_states()[lost].startswith("down")
    finally:
        slurm.mend(lost)
        slurm.ask("scontrol", "update", f"nodename={lost}", "state=resume")


def test_when_the_first_node_is_lost_the_job_begins_again_and_goes_on(
    slurm: SlurmCluster, submitted: Submitted, expected: tuple[bytes, int]
) -> None:
    submitted.submit()
    submitted.wait_for_stages(3)
    first = submitted.slurm.job(submitted.number)["BatchHost"]
    slurm.lose(first)
    kept = submitted.home.manifests()
    slurm.ask("scontrol", "update", f"nodename={first}", "state=down", "reason=lost")
    wait_for(lambda: submitted.state() in ("PENDING", *OVER), "the job in the queue again", timeout=400)
    assert submitted.state() == "PENDING", submitted.log()
    slurm.mend(first)
    slurm.ask("scontrol", "update", f"nodename={first}", "state=resume")
    slurm.ask("scontrol", "update", f"jobid={submitted.number}", "StartTime=now")
    submitted.assert_done(expected[0])
    after = submitted.home.manifests()
    assert {name: after[name] for name in kept} == kept


def test_after_scancel_nothing_runs_and_the_same_sbatch_goes_on(
    slurm: SlurmCluster, submitted: Submitted, expected: tuple[bytes, int]
) -> None:
    submitted.submit()
    submitted.wait_for_stages(5)
    slurm.ask("scancel", submitted.number)
    assert submitted.wait_for_end() == "CANCELLED"
    assert_nothing_is_left(slurm, submitted.number)
    kept = submitted.home.manifests()
    submitted.submit()
    submitted.assert_done(expected[0])
    assert submitted.answer()["stages"]["ran"] == expected[1] - len(kept)
    after = submitted.home.manifests()
    assert {name: after[name] for name in kept} == kept


def test_near_the_time_limit_the_run_ends_resumable_and_queues_itself_as_often_as_asked(slurm: SlurmCluster, submitted: Submitted) -> None:
    assert "\n#SBATCH --signal=B:USR1@" in SCRIPT.read_text()
    submitted.submit(S2L_REQUEUE="1")
    submitted.wait_for_stages(2)
    slurm.ask("scancel", "--batch", "--signal=USR1", submitted.number)  # what Slurm sends then, at a moment of ours
    wait_for(lambda: "queued again" in submitted.log(), "the requeue", timeout=180)
    wait_for(lambda: submitted.state() == "PENDING", "the job in the queue", timeout=120)
    kept = submitted.home.manifests()
    slurm.ask("scontrol", "update", f"jobid={submitted.number}", "StartTime=now")  # Slurm lets a job that is queued again wait a while
    submitted.wait_for_stages(len(kept) + 2)
    assert slurm.job(submitted.number)["Restarts"] == "1"
    slurm.ask("scancel", "--batch", "--signal=USR1", submitted.number)
    assert submitted.wait_for_end() == "FAILED"
    assert slurm.job(submitted.number)["ExitCode"] == "130:0"
    after = submitted.home.manifests()
    assert {name: after[name] for name in kept} == kept
    assert_nothing_is_left(slurm, submitted.number)
