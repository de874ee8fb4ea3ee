"""A run's scratch folder: fetched once a host, used by many, gone with the last of them, however it ended."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobs.execute.warm import Scratch, private_folder, run_name, scratch_of
from jobs.ledger.manifest import Manifest
from tests.s2l_process import ROOT

HOLD = "import sys; from jobs.execute.warm import scratch_of; held = scratch_of(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def own_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def holder(run: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_folder_goes_with_the_last_who_uses_it() -> None:
    first, second = scratch_of("run-x"), scratch_of("run-x")
    assert first.root == second.root == private_folder() / "run-x"
    first.close()
    assert second.root.exists()
    second.close()
    assert not second.root.exists()


def test_what_a_killed_process_left_is_removed_by_the_next_run_and_what_a_living_one_uses_is_not() -> None:
    killed, living = holder("run-killed"), holder("run-living")
    killed.kill()
    killed.communicate()
    scratch_of(run_name()).close()
    assert not (private_folder() / "run-killed").exists()
    assert (private_folder() / "run-living").exists()
    living.communicate()
    scratch_of(run_name()).close()
    assert list(private_folder().iterdir()) == []


def test_a_folder_that_is_removed_while_somebody_comes_is_made_again() -> None:
    stop = threading.Event()
    seen: list[bool] = []

    def come_and_go() -> None:
        while not stop.is_set():
            scratch = scratch_of("run-busy")
            seen.append((scratch.root / "parents").exists() and scratch.new("out-").exists())
            scratch.close()

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(seen) < 300:
        stop.wait(0.01)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert all(seen)


class SlowLedger:
    """Counts what is fetched, and takes its time."""

    def __init__(self) -> None:
        self.fetched = 0

    def fetch(self, manifest: Manifest, into: Path) -> None:
        self.fetched += 1
        threading.Event().wait(0.2)
        (into / "payload").write_text("bytes")


class Fetched:
    digest = "d" * 64


def test_workers_that_want_the_same_parent_at_once_fetch_it_once() -> None:
    ledger = SlowLedger()
    workers: list[Scratch] = [scratch_of("run-x") for _ in range(4)]
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda worker=worker: found.append((worker.folder_of(Fetched, ledger) / "payload").read_text()))  # type: ignore[misc]
        for worker in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == ["bytes"] * 4
    assert ledger.fetched == 1
    for worker in workers:
        worker.close()


def test_a_fetch_that_fails_leaves_nothing_and_the_next_one_tries_again() -> None:
    class Broken(SlowLedger):
        def fetch(self, manifest: Manifest, into: Path) -> None:
            super().fetch(manifest, into)
            if self.fetched == 1:
                raise OSError("the wire broke")

    ledger, scratch = Broken(), scratch_of("run-x")
    with pytest.raises(OSError, match="wire"):
        scratch.folder_of(Fetched, ledger)  # type: ignore[arg-type]
    assert [path.name for path in scratch.root.glob("fetch-*")] == []
    assert (scratch.folder_of(Fetched, ledger) / "payload").exists()  # type: ignore[arg-type]
    scratch.close()
