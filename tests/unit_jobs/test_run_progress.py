"""What a run prints while it goes: a running stage now and then, trouble always."""

from __future__ import annotations

import io

from rich.console import Console

from jobs.execute.progress import QUIET_S, Terminal


def test_a_running_stage_is_mentioned_now_and_then_and_trouble_always() -> None:
    printed, now = io.StringIO(), [0.0]
    terminal = Terminal("grid", Console(file=printed), clock=lambda: now[0])
    for seconds, words in (
        (0.0, "step 1"),
        (1.0, "step 2"),
        (2.0, "the store does not answer, trying again in 4 s"),
        (6.0, "the store does not answer, trying again in 8 s"),
        (7.0, "step 3"),
        (6.0 + QUIET_S, "step 4"),
    ):
        now[0] = seconds
        terminal.stage("shake", 0.1, words)
    said = [line.strip().removeprefix("shake: ") for line in printed.getvalue().splitlines()]
    assert said == ["step 1", "the store does not answer, trying again in 4 s", "the store does not answer, trying again in 8 s", "step 4"]


def test_a_log_says_now_and_then_how_the_run_stands_and_how_long_it_will_take_once_that_can_be_guessed() -> None:
    printed, now = io.StringIO(), [0.0]
    terminal = Terminal("grid", Console(file=printed), clock=lambda: now[0])
    terminal.begin(1000, 0)
    for seconds, names, failed in ((30.0, 2, 0), (61.0, 2, 0), (90.0, 1, 1), (130.0, 5, 0), (7200.0, 190, 0)):
        now[0] = seconds
        terminal.finished([f"stage {number}" for number in range(names)], ["shake: no"] * failed)
    assert [line for line in printed.getvalue().splitlines() if line.startswith("--")] == [
        "-- 4/1000 stages, 61 s",
        "-- 10/1000 stages, 1 failed, 2 min, about 3.6 h left",
        "-- 200/1000 stages, 1 failed, 2.0 h, about 8.0 h left",
    ]
