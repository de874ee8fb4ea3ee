"""What the commands use: mirroring while a grid runs, `sync`, and a look whether tracking answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jobs.errors import OutOfReach
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan, Trial
from jobs.states import TrialState
from jobs.tracker.answers import Refused, Unreachable
from jobs.tracker.deliver import Artifacts, GridArtifacts
from jobs.tracker.location import resolved, shown, spool_folder, sqlite_file, ui_command
from jobs.tracker.mirror import Mirror, MirrorReport
from jobs.tracker.sync import sync

FINISH_S, INTERRUPTED_S = 60.0, 3.0
"""How long the end of a run, and of an interrupted one, waits for an MLflow that takes nothing."""
CATCH_UP_S = 600.0
"""How long the end of a run waits for an MLflow that takes one trial after the other: after an outage thousands may be to go."""


@contextmanager
def mirrored(
    plan: Plan,
    ledger: Ledger,
    uri: str | None,
    notice: Callable[[str], None],
    *,
    artifacts: Artifacts | None = None,
    grid_artifacts: GridArtifacts | None = None,
) -> Iterator[Callable[[Trial, TrialState], None]]:
    """Mirror a run to MLflow; gives the function to call for every trial that comes to rest. Without a URI nothing is mirrored.

    Raises:
        jobs.errors.InputError: MLflow cannot track at such a URI. Nothing else is ever raised.
    """
    if uri is None:
        yield lambda trial, state: None
        return
    uri = resolved(uri)
    mirror = Mirror(plan, ledger, uri, spool_folder(uri), notice, artifacts=artifacts, grid_artifacts=grid_artifacts)
    mirror.start()
    try:
        yield mirror.trial_changed
    except BaseException:
        _say(mirror.finish(INTERRUPTED_S), uri, notice)
        raise
    try:
        report = mirror.finish(FINISH_S, CATCH_UP_S)
    except KeyboardInterrupt:  # the grid is complete: that alone says how the run ended
        report = mirror.finish(INTERRUPTED_S)
    _say(report, uri, notice)


def sync_grid(
    plan: Plan,
    ledger: Ledger,
    uri: str,
    *,
    artifacts: Artifacts | None = None,
    grid_artifacts: GridArtifacts | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Rebuild a grid's mirror; a JSON value that says what was done. Raises as `sync.sync` does."""
    report = sync(plan, ledger, uri, artifacts=artifacts, grid_artifacts=grid_artifacts, notice=notice)
    return {
        "grid": plan.grid,
        "tracking": shown(resolved(uri)),
        "trials": report.trials,
        "written": report.written,
        "unchanged": report.unchanged,
        "closed": report.closed,
        "look": ui_command(uri),
    }


def probe_tracking(uri: str) -> str:
    """A few words on how tracking answers. Makes no database.

    Raises:
        jobs.errors.OutOfReach: it does not.
        jobs.errors.InputError: MLflow cannot track there.
    """
    uri = resolved(uri)
    path = sqlite_file(uri)
    if path is not None and not path.exists():
        above = next(folder for folder in path.parents if folder.exists())
        if not os.access(above, os.W_OK):
            raise OutOfReach(f"{path} is not there and cannot be made: no permission to write to {above}")
        return "not there yet, the first run makes it"
    from jobs.tracker.mlflow_writer import MlflowWriter

    try:
        MlflowWriter(uri).ping()
    except (Unreachable, Refused) as error:
        raise OutOfReach(f"MLflow does not answer: {error}") from error
    return "answers"


def _say(report: MirrorReport, uri: str, notice: Callable[[str], None]) -> None:
    if report.command:
        refused = f"it refused {report.refused}" if report.refused else "the grid's summary is missing"
        waiting = f"{report.spooled} trials wait on disk" if report.spooled else refused
        notice(f"MLflow at {shown(uri)} is behind ({waiting}); the results are complete without it; later: {report.command}")
    else:
        notice(f"MLflow is up to date; to look: {report.look}")
