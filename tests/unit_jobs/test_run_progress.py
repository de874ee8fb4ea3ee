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
