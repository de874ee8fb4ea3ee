"""Who runs a grid, in words and as JSON values; and which run a person means."""

from __future__ import annotations

import time
from typing import Any

from jobs.errors import GridError, InputError
from jobs.runs.record import RunRecord
from jobs.runs.registry import Runs
from jobs.store.protocol import ObjectStore

LIVE = ("submitted", "running", "silent")


def shown(store: ObjectStore, grid: str) -> list[dict[str, Any]]:
    """The runs of a grid's name that are at work, and the last one that is not, the newest last."""
    now = time.time()
    records = Runs(store).of(grid)
    at_rest = [record for record in records if record.condition(now) not in LIVE][-1:]
    return [record.shown(now) for record in records if record in at_rest or record.condition(now) in LIVE]


def told(runs: list[dict[str, Any]]) -> list[str]:
    """A line for each run that is at work, or was lost; and one for each node that a run avoids or, if it is over, did."""
    lines = []
    for run in runs:
        place = f"process {run['pid']} on {run['host']}" if run["host"] else "no driver yet"
        job = f", job {run['job']}" if run["job"] else ""
        words = {
            "submitted": "submitted, has not begun",
            "running": f"running, {place}",
            "silent": f"not heard of for {run['heard_of_s']} s, {place}",
            "lost": f"its driver is gone, {place}; running again goes on from there",
        }.get(run["state"])
        if words:
            lines.append(f"  run {run['run']}, since {run['began']}: {words}{job}")
        lines += [f"  run {run['run']} {'avoids' if words else 'avoided'} node {node}" for node in run["avoided"]]
    return lines


def runs_of(store: ObjectStore, grid: str, profile: str | None) -> list[RunRecord]:
    """The runs of all grids of a name, the newest last: of a YAML path, a shipped name, a name that grids or runs in the store have, or of
    the grids that `NAME@KEY` fits.

    Raises:
        GridError: it is none of these.
    """
    from jobs.grid.read import read_grid
    from jobs.ledger.registry import registered_grids

    runs = Runs(store)
    try:
        return runs.of(read_grid(grid, (), profile).name)
    except GridError:
        name, _, key = grid.partition("@")
        if profile is not None or not name.replace("-", "").isalnum():
            raise
        found = [record for record in runs.of(name) if record.grid_key.startswith(key)]
        if not found and not any(one.grid_key.startswith(key) for one in registered_grids(store, name)):
            raise
        return found


def one_of(records: list[RunRecord], run: str | None, grid: str) -> list[RunRecord]:
    """The runs, or the one that is named by the beginning of its id.

    Raises:
        InputError: there is none, or more than one of that name.
    """
    if run is None:
        return records
    found = [record for record in records if record.run.startswith(run)]
    if len(found) != 1:
        known = ", ".join(record.run for record in records[-5:]) or "none"
        raise InputError(f"--run {run}: {len(found)} runs of {grid} begin so; the last ones: {known}")
    return found
