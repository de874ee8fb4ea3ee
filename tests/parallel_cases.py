"""Fits that are done by one process and by several, and the further processes of a test: each runs this file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.execute.group import Meeting, find_meeting, in_group, open_meeting
from s2l_core.families.sd import StableDiffusion
from s2l_core.shake import Shaken, shake
from s2l_core.specs.adapters import AdapterSpec
from s2l_core.specs.defences import (
    ClipNoiseDefence,
    DefenceSpec,
    DpDefence,
    EarlyStoppingDefence,
    L2ToBaseDefence,
    MixDefence,
    RejectDefence,
)
from s2l_core.specs.objectives import DenoiseObjective, ObjectiveSpec
from s2l_core.specs.training import TrainSpec
from s2l_core.training.group import ALONE, Group
from tests.adapter_cases import HYPER, LORA, TEXT, TOKEN, UNET, small
from tests.fit_cases import Kept, stop_after
from tests.shake_cases import ALL, CLASS, DENSE, PRIOR, RECORDS, objective_for, record

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = "127.0.0.1"
TRAINING = TrainSpec(steps=4, batch_size=4, lr=1e-3, eps=1e-4)
"""With the usual eps of 1e-8 AdamW makes steps of full length of gradients that are rounding errors, and blows those up to differences."""


@dataclass(frozen=True)
class Case:
    """One shake.

    Attributes:
        size: processes that it is compared with.
    """

    adapters: tuple[AdapterSpec, ...] = (LORA,)
    training: dict[str, Any] = field(default_factory=dict)
    objective: ObjectiveSpec | None = None
    defence: DefenceSpec | None = None
    micro_batch: int | None = None
    size: int = 2


CASES = {
    "dense": Case(DENSE),
    "dense, end to end": Case(ALL),
    "lora": Case(),
    "lora, class images": Case(objective=PRIOR),
    "token": Case((TOKEN,)),
    "hypernetwork": Case((HYPER,)),
    "token and dense": Case((TOKEN, TEXT)),
    "batch of 3 on 2": Case((UNET,), {"batch_size": 3}),
    "batch of 1 on 2": Case((UNET,), {"batch_size": 1}),
    "batch of 5 on 3": Case((UNET,), {"batch_size": 5}, size=3),
    "batch of 2 on 3": Case((UNET, LORA), {"batch_size": 2}, size=3),
    "micro-batches of 1": Case((UNET,), {"batch_size": 5}, micro_batch=1),
    "micro-batches of 2": Case((UNET,), {"batch_size": 6}, micro_batch=2),
    "a larger batch than the set": Case((UNET,), {"batch_size": 8}),
    "average of weights": Case((UNET,), {"ema": 0.9}),
    "gradient clipping": Case((UNET,), {"clip_norm": 1e-3}),
    "min-SNR": Case((UNET,), {"snr_gamma": 5.0}),
    "schedule": Case((UNET,), {"schedule": "cosine", "warmup_steps": 2}),
    "bf16": Case((UNET,), {"precision": "bf16"}),
    "dp": Case(defence=DpDefence(noise_multiplier=0.1, clip=0.05, delta=1e-3)),
    "clip-noise": Case(defence=ClipNoiseDefence(noise_multiplier=0.1, clip=0.05)),
    "early stopping": Case((UNET,), {"steps": 8, "lr": 0.05}, defence=EarlyStoppingDefence(every=1, patience=2, share=0.4)),
    "mix": Case(defence=MixDefence()),
    "l2-to-base": Case((UNET,), defence=L2ToBaseDefence(weight=0.1)),
    "reject": Case(defence=RejectDefence(distance=0.01)),
}


@cache
def _model() -> StableDiffusion:
    torch.set_num_threads(1)
    return small(seed=0)


def run_case(name: str, group: Group = ALONE, *, folder: str | None = None, stop: int | None = None) -> Shaken:
    """The shake, with its adapters on; a checkpoint after each step in `folder`; `stop` raises after that many steps."""
    case = CASES[name]
    wanted = {"mix": "public", "reject": "own"}.get(case.defence.kind if case.defence else "")
    checkpoint = Kept(Path(folder)) if folder and group.rank == 0 else None
    options: dict[str, Any] = {wanted: [record(number, "photo") for number in range(200, 203)]} if wanted else {}
    if stop is not None:
        halt = stop_after(stop)
        options["say"] = lambda fraction, words: halt(int(words.split()[1]))
    return shake(
        _model(),
        RECORDS,
        adapters=case.adapters,
        objective=case.objective or objective_for(case.adapters) or DenoiseObjective(),
        training=TRAINING.model_copy(update=case.training),
        name="ada",
        seed=1,
        prior=CLASS if case.objective == PRIOR else None,
        defence=case.defence,
        micro_batch=case.micro_batch,
        checkpoint=checkpoint,
        group=group,
        **options,
    )


def weights_of(shaken: Shaken) -> dict[str, Tensor]:
    """What was trained, float64; the model is as it was again."""
    with shaken.on as on:
        return {name: parameter.detach().double().clone() for name, parameter in on.parameters().items()}


class Peers:
    """Further processes of a test, which stay for the tests that follow."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []

    @contextmanager
    def group(self, size: int, name: str, **options: Any) -> Iterator[Group]:
        """A group of `size`, the others of which run the case; what they end with is then to be read with `answers`."""
        while len(self._processes) < size - 1:
            self._processes.append(_start())
        meeting, store = open_meeting(LOOPBACK, size, "gloo")
        for rank in range(1, size):
            self._tell(rank, {"meeting": asdict(meeting), "rank": rank, "name": name, "options": options})
        with in_group(store, meeting, 0, LOOPBACK) as group:
            yield group

    def answers(self, size: int) -> list[str]:
        """How the case ended in each: `done`, or the error."""
        found = []
        for process in self._processes[: size - 1]:
            assert process.stdout is not None
            found.append(process.stdout.readline().strip())
        return found

    def kill(self, rank: int) -> None:
        process = self._processes.pop(rank - 1)
        process.kill()
        process.communicate()  # which closes the pipes too

    def close(self) -> None:
        while self._processes:
            self.kill(1)

    def _tell(self, rank: int, what: Mapping[str, Any]) -> None:
        pipe = self._processes[rank - 1].stdin
        assert pipe is not None
        pipe.write(json.dumps(what) + "\n")
        pipe.flush()


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.parallel_cases"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _serve() -> None:
    """Cases as they come, until there are no more."""
    for line in sys.stdin:
        wanted = json.loads(line)
        meeting = Meeting(**wanted["meeting"])
        try:
            store = find_meeting(meeting)
            with in_group(store, meeting, wanted["rank"], LOOPBACK) as group:
                weights_of(run_case(wanted["name"], group, **wanted["options"]))
            answer = "done"
        except Exception as error:
            answer = f"{type(error).__name__}: {error}".splitlines()[0]
        print(answer, flush=True)


if __name__ == "__main__":
    _serve()
