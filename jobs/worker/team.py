"""The processes of a trial that trains on several: its actor is rank 0, the others are actors in the rest of its placement group."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from jobs.execute.order import OrderedStage
from jobs.stages.contract import StageJob
from jobs.worker.group import RankLost, backend_for, in_group, open_meeting
from jobs.worker.rank import RankProcess, RankTask
from s2l_core.training.errors import GroupBroken

GRACE_S = 20.0
"""How long a process may take to come out of a group that is broken."""
LOOK_EVERY_S = 1.0


class Team:
    """The further processes, started when they are first needed and kept for the trials that follow in this actor."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        """Take a worker's settings: `processes` and `gpu_share` say how many there are and what each takes."""
        self.size = int(setup["processes"])
        self._share = float(setup.get("gpu_share") or 0.0)
        self._setup = {name: value for name, value in setup.items() if name != "board"}
        self._others: list[Any] = []

    @contextmanager
    def joined(self, job: StageJob, stage: OrderedStage, digests: Mapping[str, str]) -> Iterator[StageJob]:
        """The job with the group of all processes, each of which runs it; leaving waits until they are through.

        Args:
            digests: parent's key -> digest of the make that the job reads.

        Raises:
            RankLost: a process ended, or hangs.
            Exception: whatever another process failed with.
        """
        import ray

        options = {"micro_batch": job.micro_batch, "gradient_checkpointing": job.gradient_checkpointing}
        task = RankTask(stage=stage, digests=dict(digests), **options).model_dump_json()
        answers: list[Any] = []
        try:
            self._start()
            _results([other.prepare.remote(task) for other in self._others])
            host = ray.util.get_node_ip_address()
            meeting, store = open_meeting(host, self.size, backend_for(job.device, self._share))
            answers = [
                other.work.remote(task, meeting, rank, address)
                for rank, (other, address) in enumerate(zip(self._others, self._addresses, strict=True), 1)
            ]
            with in_group(store, meeting, 0, host) as group, _Watch(answers, group):
                job.made["processes"] = self.size
                yield replace(job, group=group)
                _results(answers)
        except BaseException as error:
            raise self._cause(answers, error) from error

    def _start(self) -> None:
        """Processes in the other bundles of this actor's placement group."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        if self._others:
            return
        place = ray.util.get_current_placement_group()
        remote = ray.remote(RankProcess)
        others = [
            remote.options(
                num_cpus=1,
                num_gpus=self._share,
                scheduling_strategy=PlacementGroupSchedulingStrategy(place, placement_group_bundle_index=bundle),
            ).remote(self._setup)
            for bundle in range(1, self.size)
        ]
        try:
            self._addresses: list[str] = _results([other.begin.remote() for other in others])
        except BaseException:  # they would keep their places from those that are tried next
            for other in others:
                ray.kill(other)
            raise
        self._others = others

    def _cause(self, answers: list[Any], error: BaseException) -> BaseException:
        """What the trial failed of. Processes that died or hang are given up: new ones take their place."""
        import ray

        done, running = ray.wait(answers, num_returns=len(answers), timeout=GRACE_S) if answers else ([], [])
        problems = [problem for answer in done if (problem := _problem(answer)) is not None]
        dead = [problem for problem in problems if isinstance(problem, RankLost)]
        if running or dead or isinstance(error, RankLost):
            for other in self._others:
                ray.kill(other)
            self._others = []
        if not isinstance(error, GroupBroken):
            return error
        own = [problem for problem in problems if not isinstance(problem, RankLost | GroupBroken)]
        return next(iter([*own, *dead]), RankLost(str(error)))


class _Watch(threading.Thread):
    """Breaks the group when another process failed, for a rank 0 that waits in a sum nobody adds to; ends this process if that fails."""

    def __init__(self, answers: list[Any], group: Any) -> None:
        super().__init__(daemon=True, name="s2l-ranks")
        self._answers = answers
        self._group = group
        self._over = threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def run(self) -> None:
        import ray

        while not self._over.wait(LOOK_EVERY_S):
            done, _ = ray.wait(self._answers, num_returns=len(self._answers), timeout=0)
            if any(_problem(answer) is not None for answer in done):
                break
        else:
            return
        if self._over.wait(LOOK_EVERY_S):  # a broken connection is noticed by itself
            return
        self._group.leave()
        if not self._over.wait(GRACE_S):
            print("s2l: a process of this trial is gone and the sum it was to add to does not end; ending this one", file=sys.stderr)
            os._exit(1)


def _results(answers: list[Any]) -> list[Any]:
    """What the processes gave.

    Raises:
        RankLost: one of them ended.
        Exception: whatever one of them failed with.
    """
    import ray

    try:
        found: list[Any] = ray.get(answers)
    except Exception as error:
        raise _plain(error) from error
    return found


def _problem(answer: Any) -> Exception | None:
    try:
        _results([answer])
    except Exception as error:
        return error
    return None


def _plain(error: Exception) -> Exception:
    """The error that a process raised, without Ray's wrapping."""
    from ray.exceptions import RayActorError, RayTaskError

    if isinstance(error, RayActorError):
        return RankLost(f"a further process of this trial has ended: {str(error).strip().splitlines()[0]}")
    cause = getattr(error, "cause", None)
    return cause if isinstance(error, RayTaskError) and isinstance(cause, Exception) else error
