"""What a stage's code is given and what it leaves: folders in, a folder out. Nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from jobs.stages.specs import StageSpec
from s2l_core.training.group import ALONE, Group

T = TypeVar("T")
CHECKPOINT_EVERY_S = 60.0
"""How often a stage that can resume keeps a checkpoint, unless the user says otherwise."""


class Progress(Protocol):
    """A resumable checkpoint of one running stage, under `progress/<key>/` of the store."""

    def load(self, into: Path) -> bool:
        """Put the newest whole checkpoint's files into the folder; False when there is none."""
        ...

    def save(self, folder: Path) -> None:
        """Keep the folder's files as the newest checkpoint, whole or not at all.

        Raises:
            jobs.errors.Conflict: another driver has taken the stage over; stop at once.
        """
        ...


class WarmCache(Protocol):
    """Costly values a worker keeps between trials, such as the loaded base model."""

    def get(self, key: str, make: Callable[[], T]) -> T: ...


@dataclass(frozen=True)
class StageJob:
    """One stage to compute.

    Attributes:
        spec: the stage's spec.
        key: the stage's key.
        parents: (role, parent's key, folder with the parent's verified payloads), in order.
        out: an empty folder; every file left in it is a payload.
        progress: resumable checkpoints of this stage.
        cache: what this worker keeps warm.
        device: a torch device string, "cpu" or "cuda:0".
        say: reports progress, as fraction done in 0..1 and a few words.
        inputs: content hash -> local path, for `data` and `base` stages that read a folder of the user's.
        micro_batch: cut the effective batch into pieces of this size (after an out-of-memory); None: whole.
        gradient_checkpointing: hold less in memory while training, and compute more; the same result.
        checkpoint_every_s: how often a stage that can resume keeps a checkpoint.
        leaving: asks whether the machine is about to be taken away; a stage that can resume keeps a checkpoint at once then.
        group: the processes that a fit is shared by, each of which runs the stage; what rank 0 leaves is the result.
        made: facts about this make for the manifest's `made` (the micro-batch that ran, for example); no part of the digest.
    """

    spec: StageSpec
    key: str
    parents: tuple[tuple[str, str, Path], ...]
    out: Path
    progress: Progress
    cache: WarmCache
    device: str
    say: Callable[[float, str], None]
    inputs: Mapping[str, Path] = field(default_factory=dict)
    micro_batch: int | None = None
    gradient_checkpointing: bool = False
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    leaving: Callable[[], bool] = lambda: False
    group: Group = ALONE
    made: dict[str, Any] = field(default_factory=dict)

    def folder(self, role: str) -> Path:
        """The folder of the only parent in that role."""
        return next(path for name, _, path in self.parents if name == role)

    def parent_key(self, role: str) -> str:
        return next(key for name, key, _ in self.parents if name == role)

    def folders(self, role: str) -> list[Path]:
        return [path for name, _, path in self.parents if name == role]

    def has(self, role: str) -> bool:
        return any(name == role for name, _, _ in self.parents)
