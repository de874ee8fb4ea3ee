"""Workers that die, hang and are told to leave, for real: processes of a private Ray, ended by signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from jobs.store.key import new_key
from jobs.worker.leaving import EXIT_PREEMPTED
from tests.ray_head import ray_head
from tests.s2l_process import ROOT, Home, chaos_grid, wait_for
from tests.unruly.shake import STEPS, tries
from tests.unruly_runs import Unruly

pytestmark = pytest.mark.cluster


def test_the_poisonous_and_the_hung_are_given_up_by_name_and_all_others_finish(tmp_path: Path) -> None:
    poison, hung_once, hung, hungry, good = range(5)
    world = Unruly(tmp_path)
    plan = {poison: ["die"], hung_once: ["hang", "good"], hung: ["hang"], hungry: ["hungry"], good: ["good"]}
    world.prepare(plan, {"preempted": {"tries": 3}, "hung": {"after_s": 15, "tries": 2}})
    assert world.run() == {"done": 3, "failed": 2, "blocked": 0}, world.said()
    failures = {failure.error_class: failure for failure in world.failures()}
    assert set(failures) == {"preempted", "hung"}
    assert [len(world.tries(seed)) for seed in plan] == [3, 2, 2, 3, 1]
    for seed in (poison, hung_once, hung):
        pids = [one["pid"] for one in world.tries(seed)]
        assert len(set(pids)) == len(pids), "each try had a worker of its own"

    died = failures["preempted"]
    assert "died each time it ran this stage" in died.message
    assert "3 times, on nodes that live; the last that was seen: 'try 3, die'" in died.message
    assert (died.kind, died.tries) == ("shake", 3)

    silent = failures["hung"]
    assert "no progress for 15 s, twice; the last that was seen: 'try 2, hang'" in silent.message
    assert f"process {world.tries(hung)[-1]['pid']} on" in silent.message
    assert "_hang" in silent.traceback, "the stacks say where it hung"
    assert not [pid for one in world.tries(hung) if psutil.pid_exists(pid := one["pid"])]

    assert [one["micro_batch"] for one in world.tries(hungry)] == [None, None, 2]
    made = [manifest.made for key in world.ledger.committed("shake") if (manifest := world.ledger.manifest("shake", key))]
    assert [facts.get("micro_batch") for facts in made if "micro_batch" in facts] == [2]


def test_a_process_that_a_gpu_fault_has_spoiled_ends_and_takes_no_other_unit_with_it(tmp_path: Path) -> None:
    once, always, *good = range(5)
    world = Unruly(tmp_path)
    world.prepare({once: ["spoil", "good"], always: ["spoil"]} | {seed: ["good"] for seed in good}, {"preempted": {"tries": 2}})
    assert world.run(workers=1) == {"done": 4, "failed": 1, "blocked": 0}, world.said()
    assert [len(world.tries(seed)) for seed in range(5)] == [2, 2, 1, 1, 1]
    made = tries(tmp_path)  # in the order of their beginning
    spoiled = [number for number, one in enumerate(made) if one["how"] == "spoil"]
    assert len(spoiled) == 3
    for number in spoiled:
        assert made[number]["pid"] not in [one["pid"] for one in made[number + 1 :]], "a spoiled process was given another unit"
    (failure,) = world.failures()
    assert (failure.kind, failure.error_class, failure.tries) == ("shake", "preempted", 2)
    assert "the last that was seen: 'CUDA error: an illegal memory access was encountered; starting again" in failure.message


def test_what_a_worker_fails_of_outside_of_its_stages_is_recorded_like_any_failure_and_costs_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    world = Unruly(tmp_path)
    world.prepare({0: ["good"], 1: ["good"]}, {})
    (tmp_path / "lacking").touch()
    assert world.run() == {"done": 0, "failed": 2, "blocked": 0}, world.said()
    assert "a worker was lost" not in world.said()
    failures = world.failures()
    assert [(failure.kind, failure.error_class, failure.tries) for failure in failures] == [("metrics", "unknown", 4)] * 2
    for failure in failures:
        assert failure.message == "libgpu.so.12: cannot open shared object file; its key was ***"
        assert "in whole_batch" in failure.traceback
    assert "planted" not in world.said() + "".join(failure.model_dump_json() for failure in failures)
    (tmp_path / "lacking").unlink()
    assert world.run() == {"done": 2, "failed": 0, "blocked": 0}, world.said()


def test_a_worker_that_cannot_be_made_of_the_users_input_ends_the_run_with_the_sentence_that_it_would_say_here(tmp_path: Path) -> None:
    home = Home(tmp_path)
    chaos_grid(tmp_path)
    with ray_head(home.environment()) as head:  # its nodes have no key, the driver has
        keyed = home.environment() | head.variables() | {"S2L_ENCRYPTION_KEY": new_key()}
        command = home.command("run", "chaos.yaml", "--no-tracking", "--address", head.gcs)
        done = subprocess.run(command, cwd=tmp_path, env=keyed, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "cannot begin: the store" in done.stderr
    assert "and no key is set; set S2L_ENCRYPTION_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_is_told_to_leave_keeps_a_checkpoint_and_its_unit_goes_on_elsewhere_uncounted(tmp_path: Path) -> None:
    world = Unruly(tmp_path)
    world.prepare({0: ["steps"], 1: ["good"]}, {"preempted": {"tries": 1, "notices": 2}})
    driver = world.start()
    steps = tmp_path / "steps"
    for told in (1, 2):

        def under_way(told: int = told) -> bool:
            return len(world.tries(0)) == told and len(steps.read_text().splitlines() if steps.exists() else []) >= 10 * told

        assert wait_for(under_way, "a few steps", process=driver), world.said()
        os.kill(world.tries(0)[-1]["pid"], signal.SIGTERM)
    assert driver.wait(300) == 0, world.said()
    assert world.counts() == {"done": 2, "failed": 0, "blocked": 0}
    assert world.failures() == []
    assert [int(line) for line in steps.read_text().splitlines()] == list(range(STEPS)), "no step is lost and none made twice"
    assert len({one["pid"] for one in world.tries(0)}) == 3
    assert world.said().count("was told to leave; its unit goes on elsewhere") == 2


def test_a_unit_that_has_itself_evicted_before_it_gets_any_further_is_given_up_by_name(tmp_path: Path) -> None:
    world = Unruly(tmp_path)
    world.prepare({0: ["evicted"], 1: ["good"]}, {"preempted": {"tries": 1, "notices": 3}})
    assert world.run() == {"done": 1, "failed": 1, "blocked": 0}, world.said()
    assert len(world.tries(0)) == 3
    (failure,) = world.failures()
    assert (failure.kind, failure.error_class, failure.tries) == ("shake", "preempted", 3)
    assert "told to leave (SIGTERM) each time it ran this stage, 3 times in a row, and the unit got no further" in failure.message
    assert f"(process {world.tries(0)[-1]['pid']} on" in failure.message


def test_a_driver_that_is_terminated_leaves_no_worker_behind(tmp_path: Path) -> None:
    world = Unruly(tmp_path)
    world.prepare({0: ["steps"], 1: ["hang"]}, {})
    driver = world.start()
    assert wait_for(lambda: len(world.tries(0)) == len(world.tries(1)) == 1, "both shakes", process=driver), world.said()
    workers = [psutil.Process(world.tries(seed)[0]["pid"]) for seed in (0, 1)]
    driver.send_signal(signal.SIGINT)
    assert driver.wait(60) != 0
    _, alive = psutil.wait_procs(workers, timeout=30)
    for worker in alive:
        worker.kill()
    assert alive == [], "a worker that listens for SIGTERM outlived its Ray"


IDLE = """\
import os, signal, sys, time
from types import SimpleNamespace
import threading
from jobs.worker.leaving import Notice

notice = Notice(SimpleNamespace(leaving=threading.Event()))
notice.busy = sys.argv[1] == "busy"
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.2)
print("still here", notice._worker.leaving.is_set())
"""


@pytest.mark.parametrize(("state", "code", "said"), [("idle", EXIT_PREEMPTED, ""), ("busy", 0, "still here True\n")])
def test_an_idle_worker_ends_at_once_with_its_exit_code_and_a_busy_one_is_only_told(state: str, code: int, said: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", IDLE, state], capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, said), done.stderr
