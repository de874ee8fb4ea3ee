"""The only file that writes to MLflow: one experiment a grid, one parent run, one child run a trial, found before it is made.

MLflow cannot make two writers agree, so they follow a rule: make the trial's run when none is known, and look; of several runs the one with
the smallest id stays, whoever made it, and whoever sees the others deletes them. Who has met another writer looks before as well.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.tracker.answers import Refused, translated
from jobs.tracker.batches import batches
from jobs.tracker.database import ensure_database
from jobs.tracker.location import artifact_location, shown, sqlite_file
from jobs.tracker.places import refuse_place
from jobs.tracker.rows import Row

SETTLE_S = 1.0
"""How long a new parent run waits for another driver's to show before children hang on it."""

METRICS_PER_BATCH, PARAMS_PER_BATCH, TAGS_PER_BATCH, PAGE = 800, 100, 100, 1000
TERMINAL = ("FINISHED", "FAILED", "KILLED")
_OURS = ("s2l.", "mlflow.note.content")
_KIND = "custom_model_development"
_SOURCE = {"mlflow.source.name": "s2l", "mlflow.source.type": "JOB"}
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # we retry by ourselves, and must not hold an ending run for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout holds a command's answer
}


@dataclass
class Run:
    """What we know of a run in MLflow; `files` is where its artifacts go."""

    id: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    files: str

    @property
    def trial(self) -> str | None:
        return self.tags.get("s2l.trial_key")


class MlflowWriter:
    """A grid's experiment, parent run and child runs. Not for use by several threads.

    Every method raises `Unreachable` when MLflow does not answer and `Refused` when it declines.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client = _client(uri)
        self._grid = self._experiment = self._parent = ""
        self._runs: dict[str, Run] = {}
        self._alone = True

    def ping(self) -> None:
        """See that MLflow answers."""
        with translated(self.uri):
            self._client.search_experiments(max_results=1)

    def open_grid(self, grid: str, tags: Mapping[str, str]) -> None:
        """Find or make the grid's experiment and parent run, look at all child runs once, and repair what racing writers left."""
        with translated(self.uri):
            self._grid = grid
            self._experiment = self._find_experiment(f"s2l/{grid}")
            runs = list(self._search(""))
            self._parent = self._one_parent([run for run in runs if run.trial is None and run.tags.get("s2l.grid") == grid])
            children: dict[str, list[Run]] = {}
            for run in runs:
                if run.trial is not None:
                    children.setdefault(run.trial, []).append(run)
            self._runs = {key: self._keep_one(found) for key, found in children.items()}
            for run in self._runs.values():
                if run.tags.get("mlflow.parentRunId") != self._parent:
                    self._client.set_tag(run.id, "mlflow.parentRunId", self._parent)
            self._set_tags(self._parent, tags)
            self._client.update_run(self._parent, status="RUNNING")

    def has(self, trial: str, fingerprint: str) -> bool:
        """True when the trial's run shows exactly this and is closed."""
        run = self._runs.get(trial)
        return run is not None and run.status in TERMINAL and run.tags.get("s2l.made") == fingerprint

    def put(self, row: Row) -> None:
        """Write the trial's run whole: make it when there is none, correct it when it shows something else."""
        with translated(self.uri):
            for _ in range(3):
                run = self._runs.get(row.trial) or self._find_or_create(row)
                if any(row.params.get(name, value) != value for name, value in run.params.items()):
                    self._delete(run)  # params of a run cannot be changed: the axes got other labels
                elif self._write_if_active(run, row):
                    return
                self._runs.pop(row.trial)
        raise Refused(f"{shown(self.uri)}: the run of trial {row.trial[:12]} is deleted as often as it is written")

    def end_dead(self, resting: Set[str], planned: Set[str]) -> int:
        """End the runs of trials that are not at rest: those of dead writers, and those whose results left the ledger.

        Args:
            resting: trials that the ledger knows as done, failed or blocked.
            planned: trials of the grid as it is now; other trials' runs are history and stay as they are once they are closed.
        """
        dead = [run for key, run in self._runs.items() if key not in resting and (run.status not in TERMINAL or key in planned)]
        dead = [run for run in dead if run.tags.get("s2l.state") != "missing" or run.status not in TERMINAL]
        with translated(self.uri):
            for run in dead:
                self._set_tags(run.id, {"s2l.state": "missing", "s2l.made": ""})
                self._client.set_terminated(run.id, "KILLED")
        return len(dead)

    def close_grid(self, status: str, tags: Mapping[str, str], metrics: Mapping[str, float], files: Mapping[str, bytes]) -> None:
        """Put the grid's counts, tables and report on the parent run and end it."""
        from mlflow.entities import Metric

        with translated(self.uri):
            now = time.time_ns() // 1_000_000
            self._set_tags(self._parent, tags)
            self._client.log_batch(self._parent, metrics=[Metric(name, value, now, 0) for name, value in metrics.items()])
            if files:
                self._put_files(str(self._client.get_run(self._parent).info.artifact_uri), files)
            self._client.set_terminated(self._parent, status)

    def set_view(self, tag: str, state: str) -> str:
        """Keep a view of the experiment's runs; returns the experiment's id."""
        with translated(self.uri):
            self._client.set_experiment_tag(self._experiment, tag, state)
        return self._experiment

    # --- inside ---

    def _find_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                made = self._client.create_experiment(name, artifact_location(self.uri), {"mlflow.experimentKind": _KIND})
                experiment = self._client.get_experiment(made)
            except MlflowException:  # another writer was faster
                experiment = self._client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        refuse_place(self.uri, name, str(experiment.artifact_location))
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _one_parent(self, parents: list[Run]) -> str:
        if not parents:
            self._client.create_run(self._experiment, tags={"s2l.grid": self._grid, **_SOURCE}, run_name=self._grid)
            time.sleep(SETTLE_S)
            parents = [run for run in self._search(f"tags.`s2l.grid` = '{self._grid}'") if run.trial is None]
        return self._keep_one(parents).id

    def _find_or_create(self, row: Row) -> Run:
        query = f"tags.`s2l.trial_key` = '{row.trial}'"
        found = [] if self._alone else list(self._search(query))
        if not found:
            tags = {"s2l.trial_key": row.trial, "s2l.grid": self._grid, "mlflow.parentRunId": self._parent, **_SOURCE}
            made = self._client.create_run(self._experiment, start_time=row.start_ms, tags=tags, run_name=row.name)
            found = list(self._search(query)) or [_known(made)]
            self._alone = self._alone and len(found) == 1
        run = self._runs[row.trial] = self._keep_one(found)
        return run

    def _keep_one(self, runs: list[Run]) -> Run:
        kept, *others = sorted(runs, key=lambda run: run.id)
        for run in others:
            self._delete(run)
        return kept

    def _delete(self, run: Run) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.delete_run(run.id)
        except MlflowException:
            if self._is_active(run):
                raise

    def _write_if_active(self, run: Run, row: Row) -> bool:
        """False when the run was deleted meanwhile, by a person or by a writer that settled a race."""
        from mlflow.exceptions import MlflowException

        try:
            self._write(run, row)
        except MlflowException:
            if self._is_active(run):
                raise
            self._alone = False
            return False
        return True

    def _is_active(self, run: Run) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.get_run(run.id).info.lifecycle_stage) == "active"
        except MlflowException as error:
            return str(error.error_code) != "RESOURCE_DOES_NOT_EXIST"

    def _write(self, run: Run, row: Row) -> None:
        """Content first, the fingerprint with the last batch, then the end: a closed run that carries it is whole."""
        from mlflow.entities import Metric, Param, RunTag

        self._put_files(run.files, row.files)
        tags = row.tags | {"s2l.grid": self._grid, "mlflow.parentRunId": self._parent, "mlflow.runName": row.name}
        for name in [name for name in run.tags if name.startswith(_OURS) and name not in tags and name != "s2l.made"]:
            self._client.delete_tag(run.id, name)
        metrics = [Metric(name, value, row.end_ms, step) for name, value, step in row.metrics]
        params = [Param(name, value) for name, value in row.params.items() if name not in run.params]
        tags["s2l.made"] = row.fingerprint
        pairs = [RunTag(name, value) for name, value in tags.items() if name == "s2l.made" or run.tags.get(name) != value]
        for some in batches((metrics, METRICS_PER_BATCH), (params, PARAMS_PER_BATCH), (pairs, TAGS_PER_BATCH)):
            self._client.log_batch(run.id, *some)
        self._client.set_terminated(run.id, row.status, row.end_ms)
        self._runs[row.trial] = Run(run.id, row.status, run.params | row.params, tags, run.files)

    def _put_files(self, where: str, files: Mapping[str, bytes]) -> None:
        """As the client does, which asks where before it does."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with tempfile.TemporaryDirectory(prefix="s2l-mirror-") as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            if files:
                get_artifact_repository(where, tracking_uri=self.uri).log_artifacts(folder)

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _search(self, query: str) -> Iterator[Run]:
        """Active runs of the experiment."""
        token = None
        while True:
            page = self._client.search_runs([self._experiment], query, max_results=PAGE, page_token=token)
            yield from map(_known, page)
            token = page.token
            if not token:
                return


def _known(run: Any) -> Run:
    return Run(run.info.run_id, run.info.status, dict(run.data.params), dict(run.data.tags), str(run.info.artifact_uri))


def _client(uri: str) -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    path = sqlite_file(uri)
    with translated(uri):
        from mlflow import MlflowClient

        for name in ("mlflow.store.db.utils", "mlflow.tracking", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is ours to say, once
        if path is not None:
            ensure_database(path, _build)
        return MlflowClient(uri)


def _build(path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    uri = f"sqlite:///{path}"
    SqlAlchemyStore(uri, artifact_location(uri)).engine.dispose()
