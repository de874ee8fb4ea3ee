"""Commands that a Ray cluster runs by itself: submitted over its dashboard's job server. Knows nothing of trials."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

from cluster.ray_node import quiet_environment

SERVER = "RAY_API_SERVER_ADDRESS"
ENDED = {"FAILED", "STOPPED", "SUCCEEDED"}


def submit(address: str, command: str, job: str) -> None:
    """Have the cluster run a command in a shell of its head node, in the environment that its nodes have.

    Nothing of this process's environment goes along: a job's description can be read by whoever reads the dashboard.

    Args:
        address: of the dashboard, `http://host:8265`.
        job: the submission id, new for each.

    Raises:
        ConnectionError: the job server does not answer, or does not let us in.
    """
    with _client(address) as client:
        client.submit_job(entrypoint=command, submission_id=job)


def ended(address: str, job: str) -> str | None:
    """How a job ended, with its last words; None while it may go on.

    Raises:
        ConnectionError: as for `submit`, or there is no such job.
    """
    with _client(address) as client:
        info = client.get_job_info(job)
        status = getattr(info.status, "value", str(info.status))
        if status not in ENDED:
            return None
        return "\n".join([f"its Ray job {job} ended: {status}", *str(client.get_job_logs(job)).splitlines()[-10:]])


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    """The job server's client; whatever it raises is a ConnectionError with its first line."""
    quiet_environment(address)
    before = os.environ.get(SERVER)
    os.environ[SERVER] = address  # Ray's variables would win over its argument
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ray.job_submission import JobSubmissionClient

            yield JobSubmissionClient(address)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConnectionError(lines[0]) from error
    finally:
        if before is None:
            del os.environ[SERVER]
        else:
            os.environ[SERVER] = before
