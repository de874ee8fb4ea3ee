"""Stages that compute nothing and note where they ran: on which GPUs, in which placement group, beside which others.

One module stands for every kind of stage. Notes go to the folder `NOTES`, one JSON file a process and stage.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from jobs.stages import base
from jobs.stages.contract import StageJob
from jobs.stages.specs import AnyStage

NOTES = "NOTED_STAGES"
FULL = "NOTED_OUT_OF_MEMORY"
"""Where set, the second process of a shake has memory for micro-batches alone."""
TOGETHER = "NOTED_SHAKES_TOGETHER"
"""So many shakes wait for each other."""
LONGEST_WAIT_S = 600.0

for stage in get_args(get_args(AnyStage)[0]):
    sys.modules[f"{__name__}.{stage.model_fields['kind'].default}"] = sys.modules[__name__]


def run(job: StageJob) -> None:
    """Leave a payload, and a note."""
    run_fused([job])


def run_fused(jobs: Sequence[StageJob]) -> None:
    import ray

    folder = Path(os.environ[NOTES])
    begun = time.time()
    for job in jobs:
        kind, name = job.spec.kind, f"{job.key[:16]}-{job.group.rank}"  # type: ignore[attr-defined]
        if kind == "shake":
            (folder / f"begun-{name}").touch()
            if os.environ.get(FULL) and job.group.rank and job.micro_batch is None:
                raise MemoryError("the second process has no memory left")
            _wait_for_others(folder, int(os.environ.get(TOGETHER, "0")))
        heard = torch.tensor([float(job.group.rank + 1)])
        job.group.sum_([heard])
        context = ray.get_runtime_context()
        note = {
            "kind": kind,
            "key": job.key,
            "rank": job.group.rank,
            "size": job.group.size,
            "heard": heard.item(),
            "gpus": ray.get_gpu_ids(),
            "place": context.get_placement_group_id(),
            "pid": os.getpid(),
            "micro_batch": job.micro_batch,
            "begun": begun,
            "over": time.time(),
        }
        (folder / f"{name}.json").write_text(json.dumps(note))
        if kind == "base":
            base.run(job)  # its size is asked for
        (job.out / "nothing").write_text(job.key)


def _wait_for_others(folder: Path, number: int) -> None:
    deadline = time.monotonic() + LONGEST_WAIT_S
    while len(list(folder.glob("begun-*"))) < number:
        assert time.monotonic() < deadline, f"{number} shakes never ran at a time"
        time.sleep(0.05)
