"""The runs of a store: registered by their drivers, listed and asked to end by others, all through the store."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from jobs.errors import AlreadyExists, Conflict, NotFound
from jobs.ledger.holder import Holder
from jobs.ledger.paths import Paths
from jobs.ledger.retention import Keep
from jobs.runs.record import Ask, Asked, Log, RunRecord, new_run_id
from jobs.secrets import scrub
from jobs.store.protocol import ObjectStore

M = TypeVar("M", bound=BaseModel)
KEPT = 30
"""So many runs of a grid are remembered."""
OLD_S = 7 * 24 * 3600.0
_TRIES = 5


class OwnRun:
    """A run of ours in the store: its record, which nobody else writes, its log, and what it is asked."""

    def __init__(self, store: ObjectStore, record: RunRecord, tag: str) -> None:
        self._store, self.record, self._tag = store, record, tag
        self._log_tag: str | None = None
        self._logged: Log | None = None

    def beat(self) -> None:
        """Give a sign of life."""
        self._update(beat=self.record.beat + 1, beat_at=time.time())

    def end(self, exit_code: int, answer: dict[str, Any] | None, words: str) -> None:
        """Note how it ended; what it was asked is settled by that. Errors end here as words: they are kept without secrets."""
        self._update(state="ended", beat_at=time.time(), exit_code=exit_code, answer=answer, words=scrub(words))
        self._store.delete(self._name("asked"))

    def asked(self) -> Ask | None:
        """What the driver is asked to do."""
        found = _read(self._store, self._name("asked"), Asked)
        return found[0].what if found else None

    def write_log(self, log: Log) -> None:
        """Keep the last lines where others can read them."""
        if log == self._logged:
            return
        data, name = log.model_dump_json().encode(), self._name("log")
        try:
            if self._log_tag is None:
                self._log_tag = self._store.create(name, data, durable=False)
            else:
                self._log_tag = self._store.replace(name, data, self._log_tag, durable=False)
            self._logged = log
        except (AlreadyExists, Conflict):  # an earlier write of ours whose answer was lost
            self._log_tag = self._store.get(name).tag

    def avoid(self, nodes: tuple[str, ...]) -> None:
        """Say which nodes the run does not use any more."""
        self._update(avoided=nodes)

    def _update(self, **changes: Any) -> None:
        record = self.record.model_copy(update=changes)
        name = self._name("run")
        try:
            self._tag = self._store.replace(name, record.to_bytes(), self._tag, durable=False)
        except Conflict:  # likewise
            self._tag = self._store.replace(name, record.to_bytes(), self._store.get(name).tag, durable=False)
        self.record = record

    def _name(self, what: str) -> str:
        return Paths.run_file(self.record.grid, self.record.run, what)


class Runs:
    """The runs of a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def begin(self, grid: str, grid_key: str, *, keep: Keep | None = None) -> OwnRun:
        """Register a run of this process."""
        self._forget_old(grid)
        now = time.time()
        return self._create(
            RunRecord(run=new_run_id(), grid=grid, grid_key=grid_key, began=now, beat_at=now, holder=Holder.me(), keep=keep)
        )

    def submit(self, grid: str, grid_key: str, order: Mapping[str, bytes], dashboard: str, *, keep: Keep | None = None) -> OwnRun:
        """Register a run whose driver will begin on a cluster.

        Args:
            order: what the driver is to read, by name.
        """
        self._forget_old(grid)
        run = new_run_id()
        for what, data in order.items():
            self._store.create(Paths.run_file(grid, run, what), data)
        job = f"s2l-{grid}-{run}"
        record = RunRecord(run=run, grid=grid, grid_key=grid_key, state="submitted", began=time.time(), job=job, dashboard=dashboard)
        return self._create(record.model_copy(update={"keep": keep}))

    def take_over(self, grid: str, run: str) -> OwnRun:
        """The submitted run, begun by this process.

        Raises:
            jobs.errors.NotFound: no such run was submitted to this store.
        """
        name = Paths.run_file(grid, run, "run")
        stored = self._store.get(name)
        record = RunRecord.model_validate_json(stored.data)
        mine = record.model_copy(update={"state": "running", "holder": Holder.me(), "beat_at": time.time(), "beat": record.beat + 1})
        return OwnRun(self._store, mine, self._store.replace(name, mine.to_bytes(), stored.tag))

    def read(self, grid: str, run: str, what: str) -> bytes:
        """A file of the run.

        Raises:
            jobs.errors.NotFound: the run has none of that name.
        """
        return self._store.get(Paths.run_file(grid, run, what)).data

    def of(self, grid: str) -> list[RunRecord]:
        """The remembered runs of all grids of that name, the newest last."""
        found = (self.find(grid, run) for run in self._names(grid))
        return [record for record in found if record is not None]

    def keep_of(self, grid: str, grid_key: str) -> tuple[Keep, str] | None:
        """What the newest run of a grid keeps, and which run that is; None where no run tells."""
        told = [record for record in self.of(grid) if record.grid_key == grid_key and record.keep is not None]
        return (told[-1].keep, told[-1].run) if told and told[-1].keep else None

    def find(self, grid: str, run: str) -> RunRecord | None:
        """What is known of a run; None where there is nothing that can be read."""
        found = _read(self._store, Paths.run_file(grid, run, "run"), RunRecord)
        return found[0] if found else None

    def log(self, record: RunRecord) -> Log:
        """The run's last lines."""
        found = _read(self._store, Paths.run_file(record.grid, record.run, "log"), Log)
        return found[0] if found else Log()

    def ask(self, record: RunRecord, what: Ask) -> None:
        """Ask the run's driver to end. A `stop` takes the place of a `drain`, never the other way."""
        name, data = Paths.run_file(record.grid, record.run, "asked"), Asked(what=what, host=socket.gethostname()).to_bytes()
        for _ in range(_TRIES):
            with contextlib.suppress(AlreadyExists, Conflict):  # somebody asks at the same time: look again
                found = _read(self._store, name, Asked)
                if found is None:
                    self._store.create(name, data)
                elif found[0].what != what and what == "stop":
                    self._store.replace(name, data, found[1])
                return
        raise Conflict(f"what run {record.run} is asked changes faster than it can be written; try again")

    # --- inside ---

    def _create(self, record: RunRecord) -> OwnRun:
        return OwnRun(self._store, record, self._store.create(Paths.run_file(record.grid, record.run, "run"), record.to_bytes()))

    def _names(self, grid: str) -> list[str]:
        prefix = Paths.runs_of(grid)
        return sorted({entry.name[len(prefix) :].partition("/")[0] for entry in self._store.list(prefix)})

    def _forget_old(self, grid: str) -> None:
        """Only what has ended, or has not been heard of for days."""
        for run in self._names(grid)[:-KEPT]:
            record = self.find(grid, run)
            if record is None or record.state == "ended" or record.silent_for(time.time()) > OLD_S:
                for entry in list(self._store.list(f"{Paths.runs_of(grid)}{run}/")):
                    self._store.delete(entry.name)


def _read(store: ObjectStore, name: str, model: type[M]) -> tuple[M, str] | None:
    """The object's value and tag; None where it is not there or says something else."""
    try:
        stored = store.get(name)
        return model.model_validate_json(stored.data), stored.tag
    except (NotFound, ValidationError):
        return None
