"""The onlooker's side: a run's lines as they come, until it ends or is seen to be dead."""

from __future__ import annotations

import time
from collections.abc import Callable

from jobs.runs.record import SILENT_S, RunRecord
from jobs.runs.registry import Runs

POLL_S = 2.0
PATIENCE_S = 2 * SILENT_S
"""A driver whose record has not changed for so long, on our own clock, is taken for dead."""


def follow(
    runs: Runs,
    record: RunRecord,
    say: Callable[[str], None],
    *,
    job_ended: Callable[[RunRecord], str | None] = lambda record: None,
    poll_s: float = POLL_S,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[RunRecord, str | None]:
    """Say a run's lines until it ends.

    Args:
        job_ended: why the run's Ray job will not go on, asked while nothing is heard of its driver; None where it may.

    Returns:
        The record at its end, and None; or the last one there was, and why the run will not end by itself.
    """
    said, heard, at = 0, record.beat, clock()
    while True:
        now = runs.find(record.grid, record.run) or record
        log = runs.log(now)
        for line in log.after(said):
            say(line)
        said = log.end
        if now.state == "ended":
            return now, None
        if now.beat != heard:
            heard, at = now.beat, clock()
        if now.is_lost:
            return now, "its driver is gone (killed, or its machine restarted)"
        if clock() - at >= patience_s and now.state == "running":
            return now, f"its driver has not been heard of for {clock() - at:.0f} s"
        if clock() - at >= 2 * poll_s and now.job:
            ended = job_ended(now)
            again = runs.find(now.grid, now.run) if ended else now
            if ended and again is not None and again.state != "ended":
                return again, ended
        time.sleep(poll_s)
