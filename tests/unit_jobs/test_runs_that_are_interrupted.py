"""A run that is interrupted answers as one that ends by itself does: with one JSON document, or words, that say how far it came."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.s2l_process import Home

GRID = "name: nothing\nfixed: {attacks: [loss], alpha: rank}\naxes: {domain: [zorvik, mellune], method: [none, lora]}\n"
NOTHING = (
    "import functools, jobs.execute.options as found; "
    "found.RunOptions = functools.partial(found.RunOptions, stages='tests.benchmarks.noop_stages')\n"
)
SHAKE = (
    "import os, signal, subprocess, sys, time\nimport tests.benchmarks.noop_stages.shake as shake\n"
    "def run(job):\n    {0}\nshake.run = run\n"
)
SIGNALLED = SHAKE.format("os.kill(os.getpid(), signal.{0}); time.sleep(60)")
CANCELLED = SHAKE.format(
    "subprocess.run([sys.executable, '-c', 'from jobs.cli import main; main()', 'cancel', 'nothing.yaml', '--now', '--json'],"
    " stdout=open('asked', 'w'), check=True); time.sleep(60)"
)
OVERDUE = "import jobs.execute.limits as limits\nlimits.GRACE_S = 0.5\n" + SHAKE.format("time.sleep(60)")
EARLY = "import jobs.execute.run as at, signal, os\ndef told(*_): os.kill(os.getpid(), signal.SIGINT)\nat._missing = told\n"
BY_RAY = "import jobs.execute.run as at, signal, sys\ndef told(*_): sys.exit(signal.SIGTERM)\nat._missing = told\n"
MAIN = "from jobs.cli import main; main()"


class World(Home):
    """A home with a grid whose stages do nothing, and run in the command's own process."""

    def ended(self, code: str, *more: str, check: int = 130) -> subprocess.CompletedProcess[str]:
        (self.folder / "nothing.yaml").write_text(GRID)
        command = [sys.executable, "-c", NOTHING + code + MAIN, "run", "nothing.yaml", "--local", "--no-tracking", *more]
        done = subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == check, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def answer(self, code: str, *more: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ended(code, *more, "--json").stdout)
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def soon() -> str:
    return (datetime.now().astimezone() + timedelta(seconds=3)).isoformat()


@pytest.mark.parametrize(
    ("code", "more", "why", "words"),
    [
        (SIGNALLED.replace("{0}", "SIGINT"), [], "interrupted", "interrupted"),
        (SIGNALLED.replace("{0}", "SIGTERM"), [], "interrupted", "interrupted"),
        (CANCELLED, [], "cancelled", "cancelled by s2l cancel --now"),
        (OVERDUE, ["--until"], "until", "--until "),
    ],
    ids=["ctrl-c", "sigterm", "cancel --now", "until"],
)
def test_an_interrupted_run_answers_with_one_document_and_running_again_does_what_it_says(
    world: World, code: str, more: list[str], why: str, words: str
) -> None:
    answer = world.answer(code, *([*more, soon()] if more else []))
    assert answer["stopped"]["why"] == why
    assert answer["stopped"]["words"].startswith(words)
    assert answer["trials"] == {"done": 4 - answer["stopped"]["left"]["trials"], "failed": 0, "blocked": 0}
    assert answer["stages"]["ran"] > 0
    if (asked := world.folder / "asked").exists():
        assert json.loads(asked.read_text())["asked"] == "stop"
    kept = json.loads(world.run("attach", "nothing.yaml", "--json", check=(130,)).stdout)
    assert kept == answer
    again = json.loads(world.ended("", "--json", check=0).stdout)
    assert (again["stages"]["ran"], again["stages"]["reused"]) == (answer["stopped"]["left"]["stages"], answer["stages"]["ran"])


def test_a_run_that_is_kept_from_beginning_answers_too(world: World) -> None:
    answer = world.answer("", "--budget", "1e-9")
    assert (answer["stopped"]["why"], answer["stages"]["failed"]) == ("budget", 0)


@pytest.mark.parametrize("code", [EARLY, BY_RAY], ids=["ctrl-c", "as Ray ends on a SIGTERM"])
def test_what_nobody_had_looked_at_yet_is_not_said_to_be_left(world: World, code: str) -> None:
    answer = world.answer(code)
    assert answer["stopped"] == {"why": "interrupted", "words": "interrupted", "left": None}
    assert answer["trials"] == {"done": 0, "failed": 0, "blocked": 0}


def test_a_person_is_told_how_far_an_interrupted_run_came(world: World) -> None:
    done = world.ended(SIGNALLED.replace("{0}", "SIGINT"))
    assert "stopped: interrupted; left: " in done.stdout
    assert done.stdout.endswith("next: s2l run nothing.yaml\n")
    assert "nothing committed is lost" in done.stderr
