"""When a stage that can resume keeps a checkpoint: every so often, and at once when the machine is taken away."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from jobs.errors import Preempted
from jobs.stages.contract import StageJob

PIECES = "micro-batch"
"""A file of a checkpoint: in pieces of which size what led to it was computed, where it was not in whole batches."""
SHARE = 0.05
"""At most this share of the time goes into checkpoints: one that takes long to write is written less often."""


class Checkpoints:
    """The checkpoints of one job. What a kill costs is the time since the newest: `job.checkpoint_every_s`, or what SHARE makes of it."""

    def __init__(self, job: StageJob, clock: Callable[[], float] = time.monotonic) -> None:
        self._job = job
        self._clock = clock
        self._began = clock()
        self._next = self._began + job.checkpoint_every_s

    def load(self, into: Path) -> bool:
        """Put the newest checkpoint's files into the folder; False when there is none."""
        found = self._job.progress.load(into)
        if found and (into / PIECES).exists():  # the manifest is to say so, whoever resumes, and in whichever pieces
            self._job.made["micro_batch"] = min(int((into / PIECES).read_text()), self._job.micro_batch or sys.maxsize)
        return found

    def due(self, step: int = 0) -> bool:
        """Whether to keep one now."""
        self._began = self._clock()
        return self._began >= self._next or self._job.leaving()

    def save(self, folder: Path) -> None:
        """Keep the folder's files.

        Raises:
            jobs.errors.Preempted: the machine is taken away, and the checkpoint is kept: stop here.
            jobs.errors.Conflict: another driver has taken the stage over; stop at once.
        """
        if pieces := self._job.made.get("micro_batch", self._job.micro_batch):
            (folder / PIECES).write_text(str(pieces))
        self._job.progress.save(folder)
        now = self._clock()
        self._next = now + max(self._job.checkpoint_every_s, (now - self._began) / SHARE)
        if self._job.leaving():
            raise Preempted
