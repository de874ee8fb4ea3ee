"""A shake of rank 2 that tells all it knows, as an error of a client that prints its settings does; any other is S2L's own."""

from __future__ import annotations

import os

from jobs.stages import shake
from jobs.stages.contract import StageJob

RESUMES = shake.RESUMES


def run(job: StageJob) -> None:
    if "rank=2" not in str(job.spec):
        shake.run(job)
        return
    secrets = {name: os.environ.get(name, "") for name in os.environ["TELL"].split()}
    job.say(0.1, f"connecting with {secrets}")
    password = secrets["MLFLOW_TRACKING_PASSWORD"]
    raise RuntimeError(f"PLANTED: no answer from http://admin:{password}@elsewhere/ with {secrets}")
