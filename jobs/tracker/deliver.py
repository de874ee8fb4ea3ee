"""Delivery: from events to runs in MLflow, through one open writer. Used by the mirror's thread and by `sync`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jobs.errors import Corrupt
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan
from jobs.tracker import view
from jobs.tracker.event import Event
from jobs.tracker.mlflow_writer import MlflowWriter
from jobs.tracker.plain import plain
from jobs.tracker.rows import MAX_TAG, Row, cut, fingerprint, row_of, stages_of

Artifacts = Callable[[Mapping[str, Any]], Mapping[str, bytes]]
"""From a trial's `metrics.json` by attack to files by path."""
GridArtifacts = Callable[[], Mapping[str, bytes]]
REST = ("done", "failed", "blocked", "missing")


class Delivery:
    """Writes a grid's runs. Opened at the first use, and again after an outage."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        uri: str,
        notice: Callable[[str], None],
        artifacts: Artifacts | None,
        grid_artifacts: GridArtifacts | None,
    ) -> None:
        self._plan, self._ledger, self._uri, self._notice = plan, ledger, uri, notice
        self._artifacts, self._grid_artifacts = artifacts, grid_artifacts
        self._writer: MlflowWriter | None = None
        self._told = False
        self.written = self.unchanged = 0
        self.closed = False

    def open(self) -> MlflowWriter:
        """The writer, with the grid's experiment and parent run found or made.

        Raises:
            Unreachable: MLflow does not answer.
        """
        if self._writer is None:
            writer = MlflowWriter(self._uri)
            writer.open_grid(self._plan.grid, self._parent_tags())
            self._writer = writer
        return self._writer

    def deliver(self, event: Event) -> None:
        """Make MLflow show the trial as the event and the ledger say; nothing is sent when it does already."""
        writer = self.open()
        stages = stages_of(event, self._ledger)
        if stages is None:  # not done any more: it will be made again, and reported again
            self._notice(f"a result of trial {event.trial[:12]} is no longer in the store; running the grid makes it again")
            return
        if writer.has(event.trial, fingerprint(event, stages)):
            self.unchanged += 1
            return
        try:
            row = row_of(event, stages, self._ledger)
        except Corrupt as error:  # in quarantine now, as above
            self._notice(str(error))
            return
        writer.put(self._with_plots(row))
        self.written += 1

    def close_grid(self, states: Mapping[str, str]) -> None:
        """Put counts, tables and report on the parent run and end it.

        Args:
            states: trial -> `done`, `failed` or `blocked`; the plan's other trials are missing.
        """
        counts = Counter(states.get(trial.key, "missing") for trial in self._plan.trials)
        status = "FAILED" if counts["failed"] or counts["blocked"] else "KILLED" if counts["missing"] else "FINISHED"
        metrics = {f"trials/{state}": float(counts[state]) for state in REST}
        files = self._safely(self._grid_artifacts) if self._grid_artifacts is not None else {}
        writer = self.open()
        experiment = writer.set_view(view.TAG, view.view_state(self._plan))
        tags = self._parent_tags() | {"mlflow.note.content": self._note(counts, experiment)}
        writer.close_grid(status, tags, metrics, files)
        self.closed = True

    # --- inside ---

    def _with_plots(self, row: Row) -> Row:
        if self._artifacts is None or row.status != "FINISHED":
            return row
        make = self._artifacts
        return replace(row, files=row.files | self._safely(lambda: make(row.documents)))

    def _safely(self, make: GridArtifacts) -> dict[str, bytes]:
        """A plot that cannot be drawn keeps no number out of MLflow."""
        try:
            return dict(make())
        except Exception as error:
            if not self._told:
                self._told = True
                self._notice(f"MLflow gets no plots or tables: {type(error).__name__}: {error}")
            return {}

    def _parent_tags(self) -> dict[str, str]:
        axes = {f"s2l.axis.{name}": cut(", ".join(map(str, values)), MAX_TAG) for name, values in self._plan.axes.items()}
        return {"s2l.grid": self._plan.grid, "s2l.grid_key": self._plan.grid_key, **axes}

    def _note(self, counts: Counter[str], experiment: str) -> str:
        said = ", ".join(f"{counts[state]} {state}" for state in REST if counts[state])
        grid = self._plan.grid
        lines = [f"**{grid}**: {len(self._plan.trials)} trials: {said}.", ""]
        lines += ["| axis | values |", "|---|---|"]
        lines += [f"| {name} | {plain(cut(', '.join(map(str, values)), 500))} |" for name, values in self._plan.axes.items()]
        lines += ["", f"[All trials in one table]({view.link(experiment)}): AUC before, after and difference, and verdicts."]
        lines += ["", f"The table on a terminal: `s2l results {grid}`. The report: `s2l report {grid} -o report.html`."]
        lines += ["", "A mirror of the ledger; `s2l sync` writes it anew."]
        return cut("\n".join(lines), MAX_TAG)


__all__ = ["Artifacts", "Delivery", "GridArtifacts"]
