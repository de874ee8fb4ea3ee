"""A reader that goes away, or a disk with no room for a log: the command goes on, and its exit code is its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import pytest

from jobs.execute.progress import Terminal
from jobs.ledger.ledger import Ledger
from jobs.store.open import open_store
from tests.s2l_process import Home

GRID = "name: nothing\nfixed: {attacks: [loss], alpha: rank}\naxes: {domain: [zorvik, mellune], method: [none, lora]}\n"
NOTHING = (
    "import functools, jobs.execute.options as found; "
    "found.RunOptions = functools.partial(found.RunOptions, stages='tests.benchmarks.noop_stages')\n"
)
FAILING = "import tests.benchmarks.noop_stages.shake as shake\ndef run(job): raise ValueError('cannot work')\nshake.run = run\n"
MAIN = "from jobs.cli import main; main()"
BROKEN = "import jobs.cli.run as at\ndef gone(*_, **__): raise BrokenPipeError(32, 'Broken pipe')\nat.load_plan = gone\n"
RAY_WAS_TOLD = "import signal, sys\nimport jobs.cli.run as at\ndef told(*_, **__): sys.exit(signal.SIGTERM)\nat.load_plan = told\n"


@contextmanager
def gone() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def full() -> Iterator[IO[bytes]]:
    """A log on a full disk."""
    with Path("/dev/full").open("wb") as file:
        yield file


class World(Home):
    """A home with a grid whose stages do nothing, and run in the command's own process."""

    def ended(self, code: str, *args: str, stdout: int | IO[bytes], stderr: int | IO[bytes]) -> subprocess.CompletedProcess[bytes]:
        (self.folder / "nothing.yaml").write_text(GRID)
        command = [sys.executable, "-c", NOTHING + code + MAIN, *args]
        return subprocess.run(command, cwd=self.folder, env=self.environment(), stdout=stdout, stderr=stderr, timeout=120, check=False)

    def done(self) -> int:
        return len(Ledger(open_store(str(self.store))).committed("metrics"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


RUN = ("run", "nothing.yaml", "--local", "--no-tracking", "--json")


@pytest.mark.parametrize("log", [gone, full])
@pytest.mark.parametrize(("code", "ends", "states"), [("", 0, (4, 0)), (FAILING, 3, (2, 2))])
def test_a_run_whose_log_cannot_be_written_goes_on_to_its_own_end(
    world: World, log: Callable[[], AbstractContextManager[int | IO[bytes]]], code: str, ends: int, states: tuple[int, int]
) -> None:
    with log() as stderr:
        run = world.ended(code, *RUN, stdout=subprocess.PIPE, stderr=stderr)
    answer = json.loads(run.stdout)["trials"]
    assert (run.returncode, answer["done"], answer["failed"]) == (ends, *states)


@pytest.mark.parametrize(("code", "ends"), [("", 0), (FAILING, 3)])
def test_an_answer_that_nobody_reads_leaves_the_exit_code_as_it_is(world: World, code: str, ends: int) -> None:
    with gone() as stdout:
        run = world.ended(code, *RUN, stdout=stdout, stderr=subprocess.PIPE)
        assert (run.returncode, world.done()) == (ends, 4 if not ends else 2)
        assert b"stages to run" in run.stderr
        assert b"Traceback" not in run.stderr
        looked = world.ended("", "results", "nothing.yaml", stdout=stdout, stderr=subprocess.PIPE)
    assert looked.returncode == 0
    assert b"Traceback" not in looked.stderr


def test_a_run_whose_streams_nobody_reads_or_are_closed_runs(world: World) -> None:
    with gone() as pipe:
        assert world.ended(FAILING, *RUN, stdout=pipe, stderr=pipe).returncode == 3
        shut = "import sys; sys.stdout = sys.stderr = None\n"  # as Python has them when a shell closed them: >&- 2>&-
        assert world.ended(shut, *RUN, stdout=pipe, stderr=pipe).returncode == 0
    assert world.done() == 4


def test_who_follows_a_run_and_is_read_no_more_leaves_it(world: World) -> None:
    world.ended(FAILING, *RUN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with gone() as stderr:
        assert world.ended("", "attach", "nothing.yaml", stdout=subprocess.DEVNULL, stderr=stderr).returncode == 0
    assert world.ended("", "attach", "nothing.yaml", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 3


def test_a_pipe_that_broke_elsewhere_is_no_success(world: World) -> None:
    run = world.ended(BROKEN, *RUN, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (run.returncode, run.stdout, run.stderr) == (1, b"", b"s2l: ended early: a connection broke\n")


def test_a_sigterm_that_ray_s_own_handler_gets_while_it_starts_is_an_interruption(world: World) -> None:
    run = world.ended(RAY_WAS_TOLD, *RUN, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.returncode == 130
    assert run.stderr.startswith(b"s2l: interrupted; nothing committed is lost")


class Breaking(io.StringIO):
    """A file that fails from the second write on."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error, self._writes = error, 0

    def write(self, text: str) -> int:
        self._writes += 1
        if self._writes > 1:
            raise self._error
        return super().write(text)


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device")])
def test_a_reporter_that_cannot_write_is_silent_and_never_raises(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Breaking(error)
    monkeypatch.setattr(sys, "stderr", file)
    reporter = Terminal("grid")
    for _ in range(3):
        reporter.begin(3, 0)
        reporter.stage("one", 0.5, "trying again")
        reporter.finished(["one"], ["two"])
        reporter.close()
    assert file.getvalue() == "grid: 3 stages to run, 0 already done\n"


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "Input/output error")])
def test_a_live_picture_on_a_terminal_that_is_gone_ends_no_run(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", Breaking(error))
    stdout, reporter = sys.stdout, Terminal("grid")
    reporter.begin(3, 0)
    reporter.finished(["one"], [])
    reporter.close()
    assert sys.stdout is stdout, "the answer has somewhere to go"
