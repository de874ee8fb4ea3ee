"""A further process of a data-parallel trial: it runs the same stage as rank 0 on its share of each batch, and leaves nothing."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from jobs.errors import Corrupt
from jobs.execute.order import OrderedStage, parse_spec
from jobs.stages.contract import StageJob
from jobs.worker.group import Meeting, find_meeting, in_group


class RankTask(BaseModel):
    """One stage to take part in.

    Attributes:
        digests: parent's key -> the digest of the make that rank 0 reads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    stage: OrderedStage
    digests: dict[str, str]
    micro_batch: int | None = None
    gradient_checkpointing: bool = False


class NoProgress:
    """Keeps nothing: checkpoints are rank 0's, which shares what it loads."""

    def load(self, into: Path) -> bool:
        return False

    def save(self, folder: Path) -> None:
        """Nothing."""


class RankProcess:
    """Kept, warm, for as long as the trial's actor is."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._setup = setup
        self._parents: tuple[tuple[str, str, Path], ...] = ()

    def begin(self) -> str:
        """Get ready for work, and give the address of this process's node.

        Raises:
            Exception: no worker can be made here. Raised while Ray makes the actor it would be a lost process, for no reason that is told.
        """
        import ray

        from jobs.worker.setup import make_worker

        self._worker = make_worker(self._setup)
        return str(ray.util.get_node_ip_address())

    def prepare(self, task: str) -> None:
        """Fetch what the stage reads.

        Raises:
            jobs.errors.Corrupt: a parent is not in the store, or not the make that rank 0 reads.
        """
        wanted = RankTask.model_validate_json(task)
        self._parents = tuple((role, key, self._folder(kind, key, wanted.digests[key])) for role, kind, key in wanted.stage.parents)

    def work(self, task: str, meeting: Meeting, rank: int, host: str) -> None:
        """Take part until the stage's fit is over.

        Raises:
            s2l_core.training.errors.GroupBroken: another process is gone.
        """
        wanted = RankTask.model_validate_json(task)
        out = self._worker.scratch.new("rank-")
        try:
            store = find_meeting(meeting)
            with in_group(store, meeting, rank, host) as group:
                job = StageJob(
                    spec=parse_spec(wanted.stage.spec),
                    key=wanted.stage.key,
                    parents=self._parents,
                    out=out,
                    progress=NoProgress(),
                    cache=self._worker.warm,
                    device=self._worker.device,
                    say=lambda fraction, words: None,
                    micro_batch=wanted.micro_batch,
                    gradient_checkpointing=wanted.gradient_checkpointing,
                    group=group,
                )
                importlib.import_module(f"{self._worker.stages}.{wanted.stage.spec['kind']}").run(job)
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def _folder(self, kind: str, key: str, digest: str) -> Path:
        manifest = self._worker.ledger.manifest(kind, key)
        if manifest is None or manifest.digest != digest:
            raise Corrupt(f"{kind} {key} is not in the store as the first process of this trial read it; it was made again meanwhile")
        return self._worker.scratch.folder_of(manifest, self._worker.ledger)
