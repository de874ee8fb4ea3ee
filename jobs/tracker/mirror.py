"""The mirror while a grid runs: a spool on disk, and one thread that delivers it to MLflow when MLflow answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import LedgerError, OutOfReach
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan, Trial
from jobs.states import TrialState
from jobs.tracker.answers import Refused, Unreachable
from jobs.tracker.deliver import Artifacts, Delivery, GridArtifacts
from jobs.tracker.event import Event, event_of
from jobs.tracker.location import shown, ui_command
from jobs.tracker.spool import Spool

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
THREAD = "s2l-mlflow"
LAST_DELIVERY_S = 30.0
"""How long the delivery that is under way may take when all others have been given up."""
TELL_S = 10.0
"""How often a person who waits for MLflow at a run's end is told how much is to go."""
LAST_TRIES = 3
"""How often a grid that has ended tries an MLflow that does not answer: a busy database deserves more than one."""


@dataclass(frozen=True)
class MirrorReport:
    """What became of what the mirror was told.

    Attributes:
        written: runs that were made or changed; unchanged: runs that showed it already.
        refused: trials that MLflow did not take.
        spooled: trials that wait on disk for a later run, or for `command`.
        command: what brings the mirror up to date; empty when it is.
        look: how a person opens the mirror.
    """

    written: int
    unchanged: int
    refused: int
    spooled: int
    command: str
    look: str


class Mirror:
    """Mirrors a grid to MLflow. Nothing here raises into the grid, waits for MLflow, or changes how a run ends.

    Args:
        tracking_uri: as `location.resolved` gives it.
        spool: a folder for what is not delivered yet.
        notice: told, once each, what a person should know.
        artifacts: plots of a trial, by path; they must show no image and no caption.
        grid_artifacts: tables and the report of the grid, asked for once at the end.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        tracking_uri: str,
        spool: Path,
        notice: Callable[[str], None],
        *,
        artifacts: Artifacts | None = None,
        grid_artifacts: GridArtifacts | None = None,
    ) -> None:
        self._plan, self._uri, self._notice = plan, tracking_uri, notice
        self._delivery = Delivery(plan, ledger, tracking_uri, notice, artifacts, grid_artifacts)
        self._spool = Spool(spool, plan.grid, tracking_uri)
        self._pending: dict[str, Event] = {}
        self._states: dict[str, str] = {}
        self._said: set[str] = set()
        self._refused = 0
        self._wake = threading.Condition()
        self._ending, self._tries_left = False, LAST_TRIES
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name=THREAD)

    def start(self) -> None:
        """Begin to deliver, also what dead drivers left in the spool."""
        self._thread.start()

    def trial_changed(self, trial: Trial, state: TrialState) -> None:
        """Keep the news on disk and return: tens of microseconds, whatever MLflow does. A missing trial is no news."""
        if state.state == "missing":
            return
        event = event_of(trial, state)
        try:
            self._spool.append(event)
        except OSError as error:
            self._say_once(
                "spool",
                f"the MLflow spool {self._spool.path} cannot be written ({error}); what is not delivered now needs `{self._command}`",
            )
        with self._wake:
            self._states[trial.key] = state.state
            self._pending.pop(trial.key, None)
            self._pending[trial.key] = event
            self._wake.notify()

    def finish(self, silent_s: float = 60.0, at_most_s: float | None = None) -> MirrorReport:
        """Deliver what is left; what then still waits stays on disk. An MLflow that is down is not waited for.

        What is being delivered when the time is up is delivered: a thread that Python's end meets in compiled code (drawing, a database)
        takes the whole process down, and with it the exit code of a grid that is complete.

        Args:
            silent_s: give up when MLflow has taken no trial for so long.
            at_most_s: give up after so long, also when it takes one after the other, and for the grid's summary, whose report takes a large
                grid minutes; `silent_s` when not given.
        """
        with self._wake:
            self._ending = True
            self._wake.notify()
        if self._thread.is_alive():
            self._await(silent_s, silent_s if at_most_s is None else at_most_s)
        self._given_up.set()
        if self._thread.is_alive():
            self._thread.join(LAST_DELIVERY_S)
        with self._wake:
            left = list(self._pending.values())
        try:
            self._spool.keep_only(left)
        except OSError as error:
            self._say_once("spool", f"the MLflow spool {self._spool.path} cannot be written ({error})")
        behind = bool(left) or bool(self._refused) or not self._delivery.closed
        command = self._command if behind else ""
        return MirrorReport(self._delivery.written, self._delivery.unchanged, self._refused, len(left), command, ui_command(self._uri))

    def _await(self, silent_s: float, at_most_s: float) -> None:
        """Until all is delivered, or it is time to give up; says now and then how much is to go."""
        begun = since = told = time.monotonic()
        seen = len(self._pending)
        while True:
            self._thread.join(min(0.1, silent_s))
            left, now = len(self._pending), time.monotonic()
            if left != seen:
                seen, since = left, now
            if not self._thread.is_alive() or now - begun >= at_most_s or (left and now - since >= silent_s):
                return
            if now - told >= TELL_S:
                told = now
                waits = f"{left} trials" if left else "the grid's summary"
                self._notice(f"MLflow: {waits} to go; the results are complete, and Ctrl-C leaves this for `{self._command}`")

    # --- the thread ---

    def _work(self) -> None:
        for old in self._left_by_the_dead():
            with self._wake:
                self._pending.setdefault(old.trial, old)
        wait = FIRST_WAIT_S
        while True:
            event = self._next()
            if self._given_up.is_set():
                return
            try:
                if event is None:
                    self._delivery.close_grid(self._states)
                    return
                self._spool.sync()
                self._delivery.deliver(event)
            except (Unreachable, OutOfReach) as error:
                cause = type(error).__name__  # MLflow itself, or the store whose results it is to show: one may follow the other
                self._say_once(cause, f"MLflow is behind: {error}; the grid goes on, what MLflow misses waits in {self._spool.folder}")
                if self._pause(wait):
                    return
                wait = min(2 * wait, LONGEST_WAIT_S)
                continue
            except Exception as error:
                self._refuse(event, error)
                if event is None:
                    return
            else:
                self._recovered(wait)
                wait = FIRST_WAIT_S
            self._forget(event)

    def _left_by_the_dead(self) -> list[Event]:
        try:
            return self._spool.adopt()
        except OSError as error:
            self._say_once("spool", f"the MLflow spool {self._spool.folder} cannot be read ({error})")
            return []

    def _next(self) -> Event | None:
        """The oldest event; None when the grid has ended and nothing is left."""
        with self._wake:
            while not self._pending and not self._ending:
                self._wake.wait()
            return next(iter(self._pending.values()), None)

    def _forget(self, event: Event | None) -> None:
        """Take a delivered event out, unless there is newer news of the trial."""
        with self._wake:
            if event is not None and self._pending.get(event.trial) is event:
                del self._pending[event.trial]

    def _pause(self, seconds: float) -> bool:
        """Wait before the next attempt; True when the grid has ended and the last attempt was just made."""
        with self._wake:
            if self._ending:
                self._tries_left -= 1
                seconds = FIRST_WAIT_S
            if self._tries_left <= 0:
                return True
            ended, deadline = self._ending, time.monotonic() + seconds
            while self._ending == ended and (left := deadline - time.monotonic()) > 0:
                self._wake.wait(left)
        return False

    def _recovered(self, wait: float) -> None:
        if wait > FIRST_WAIT_S:
            self._notice(f"MLflow answers again at {shown(self._uri)}; it is being brought up to date")
            self._said.clear()

    def _refuse(self, event: Event | None, error: Exception) -> None:
        what = f"trial {event.trial[:12]}" if event is not None else "the grid's summary"
        kind = "" if isinstance(error, Refused | LedgerError) else f"{type(error).__name__}: "
        self._refused += 1
        self._say_once("refused", f"MLflow has no run of {what}: {kind}{error}; next: {self._command}")

    @property
    def _command(self) -> str:
        return f"s2l sync {self._plan.grid}"

    def _say_once(self, topic: str, text: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            self._notice(text)


__all__ = ["THREAD", "Artifacts", "GridArtifacts", "Mirror", "MirrorReport"]
