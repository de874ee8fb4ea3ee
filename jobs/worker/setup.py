"""Making a worker in a process of its own: one torch thread per CPU worker, always, so that results do not depend on how many there are."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any

from jobs.errors import InputError, OutOfReach
from jobs.ledger.leases import LeaseKeeper
from jobs.ledger.ledger import Ledger
from jobs.ledger.patient import patient
from jobs.policy import RetryPolicy
from jobs.stages.contract import CHECKPOINT_EVERY_S
from jobs.store.marker import NAME as MARKER
from jobs.store.open import open_store
from jobs.worker.stage_runner import Worker
from jobs.worker.warm import scratch_of


def pin_threads() -> None:
    """One thread for every numeric library of this process."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["DISABLE_TELEMETRY"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    torch.set_num_threads(1)


def make_worker(setup: dict[str, Any]) -> Worker:
    """A worker from plain settings.

    Args:
        setup: `store` (URL), `scratch` (its name on every host), `gpu_share` (GPUs of one unit; None: a whole one where there is one),
            `gradient_checkpointing`, `stages` (package), `retry` (a RetryPolicy as JSON), `micro_batch`, `checkpoint_every_s`,
            `device` ("auto", or "cpu" also where there is a GPU).

    Raises:
        InputError: this host lacks the store's key, or a GPU.
    """
    pin_threads()
    notes: list[str] = []
    store = open_store(setup["store"])
    with contextlib.suppress(OutOfReach):  # it is waited for when it is used
        store.size(MARKER)  # the first look, which needs the key
    policy, leaving = RetryPolicy.model_validate(setup.get("retry") or {}), threading.Event()
    ledger = patient(
        Ledger(store, notice=notes.append),
        policy.transient,
        say=lambda words: worker.tell(words),
        sleep=lambda seconds: worker.pause(seconds),
    )
    worker = Worker(
        ledger=ledger,
        scratch=scratch_of(str(setup["scratch"])),
        leases=LeaseKeeper(ledger.leases, notice=notes.append),
        device=pick_device(setup.get("gpu_share", 0.0), str(setup.get("device", "auto"))),
        host=socket.gethostname(),
        gradient_checkpointing=bool(setup.get("gradient_checkpointing", False)),
        stages=str(setup.get("stages", "jobs.stages")),
        notes=notes,
        policy=policy,
        micro_batch=setup.get("micro_batch"),
        checkpoint_every_s=float(setup.get("checkpoint_every_s", CHECKPOINT_EVERY_S)),
        leaving=leaving,
    )
    return worker


def pick_device(gpu_share: float | None, wanted: str = "auto") -> str:
    """The device a worker computes on; a fraction of a GPU is also a limit on its memory (Ray's fractions are bookkeeping).

    Raises:
        InputError: a GPU is asked for where torch finds none.
    """
    import torch

    if wanted == "cpu":
        return "cpu"
    if gpu_share is None:
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if gpu_share <= 0:
        return "cpu"
    if not torch.cuda.is_available():
        raise InputError(
            f"a trial is to take {gpu_share:g} GPUs, and torch finds none; leave --gpu-share out or give --device cpu to compute on the CPU"
        )
    if gpu_share < 1:
        torch.cuda.set_per_process_memory_fraction(gpu_share)
    return "cuda:0"
