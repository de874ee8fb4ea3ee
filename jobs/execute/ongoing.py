"""One run of one plan while it goes on: what it knows, whom it tells."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping

from jobs.execute.limits import Gate
from jobs.execute.look import Look
from jobs.execute.losses import Verdict
from jobs.execute.options import RunOptions
from jobs.execute.order import WorkOrder
from jobs.execute.progress import Reporter
from jobs.execute.queue import Outcome, Queue
from jobs.execute.result import RunResult
from jobs.execute.units import Unit
from jobs.ledger.failures import Failure, newest
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.ledger.patient import patient
from jobs.ledger.progress import checkpointed
from jobs.ledger.retention import Dropped, drop
from jobs.plan.graph import Node
from jobs.plan.names import stage_names
from jobs.plan.plan import Plan, Trial
from jobs.secrets import scrub
from jobs.states import TrialState

RETAIN_EVERY_S = 600.0
"""How often a run drops the weights that --keep lets go: a look at all shakes of the store each time."""

OnTrial = Callable[[Trial, TrialState], None]
"""Told of every trial that is complete, failed or blocked; never raises."""


class Ongoing:
    """Keeps what is committed and tells trials that are complete.

    Attributes:
        missing: keys of stages that are not committed, as far as this driver knows; None before it has looked.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        options: RunOptions,
        reporter: Reporter,
        on_trial: OnTrial,
        gate: Gate | None = None,
    ) -> None:
        self.plan, self.options, self.reporter = plan, options, reporter
        self._on_trial, self._told = on_trial, dict[str, TrialState]()
        self.policy = plan.retry
        self.ledger = patient(ledger, self.policy.transient, say=self.tell)
        self.halved: Mapping[str, int] = {}
        self.gate = gate or Gate(options.limits)
        self.result = RunResult()
        self.look: Look | None = None
        self.names = stage_names(plan)
        self.inputs = {content: str(path) for content, path in plan.inputs.items()}
        self._dropped, self._retained_at = Dropped(), time.monotonic()
        self._waits: dict[str, list[Trial]] = {}
        self._open: dict[str, int] = {}
        self.missing: set[str] | None = None

    def expect(self, missing: Iterable[Node]) -> None:
        """Note which trials wait for which stages; those that wait for none are complete."""
        missing = list(missing)
        self.ledger.memory.forget(Paths.manifest(node.kind, node.key) for node in missing)  # one that was spoiled is made anew
        keys = {node.key for node in missing}
        self.missing = set(keys)
        self._waits, self._open = {}, {}
        for trial in self.plan.trials:
            open_leaves = {leaf.key for leaf in trial.leaves()} & keys
            self._open[trial.key] = len(open_leaves)
            if open_leaves:
                self._told.pop(trial.key, None)  # told again when what was spoiled is made again
            for key in open_leaves:
                self._waits.setdefault(key, []).append(trial)

    def complete(self) -> list[Trial]:
        """The trials that wait for nothing."""
        return [trial for trial in self.plan.trials if not self._open[trial.key]]

    def order_of(self, unit: Unit) -> str:
        if self.look is not None:
            self.look.begin()  # not earlier: the first unit does not wait for it
        return WorkOrder.of(unit, self.inputs, self.halved).model_dump_json()

    def note(self, unit: Unit, outcome: Outcome) -> None:
        self.ledger.memory.learn((name, text.encode()) for name, text in outcome.manifests.items())
        self.result.ran.update(outcome.ran)
        self.result.failed.update({key: (found[0], found[1]) for key, found in outcome.failed.items()})
        for key in outcome.ran:
            self.result.failed.pop(key, None)
        if self.missing is not None:
            self.missing.difference_update(outcome.committed)
        failed = [scrub(f"{self.names.get(key, key)}: {found[0]}: {found[1]}") for key, found in outcome.failed.items()]
        for text in outcome.notes:
            self.tell(text)
        self.reporter.finished([self.names.get(key, key) for key in outcome.ran], failed)
        for key in outcome.committed:
            for trial in self._waits.pop(key, ()):
                self._open[trial.key] -= 1
                if not self._open[trial.key]:
                    self.came_to_rest(trial, TrialState("done"))

    def came_to_rest(self, trial: Trial, state: TrialState) -> None:
        """Pass on how a trial stands, once."""
        if self._told.get(trial.key) != state:
            self._told[trial.key] = state
            self._on_trial(trial, state)

        self.retain(RETAIN_EVERY_S)

    def retain(self, every_s: float = 0.0) -> Dropped:
        """Drop the weights that --keep lets go, unless that was done within so many seconds; all that this run has dropped."""
        if self.options.keep != "all" and time.monotonic() - self._retained_at >= every_s:
            self._dropped += drop(self.ledger, self.plan.nodes(), self.options.keep)
            self._retained_at = time.monotonic()
        return self._dropped

    def say(self, key: str, fraction: float, words: str) -> None:
        self.reporter.stage(self.names.get(key, key), fraction, words)

    def tell(self, text: str) -> None:
        self.reporter.note(scrub(text))

    def reach_store(self) -> None:
        """Return when the store answers; it is waited for as long as the grid's policy says."""
        next(iter(self.ledger.store.list(Paths.grids)), None)

    def stands(self, unit: Unit) -> frozenset[str]:
        """What is kept of a unit's work: another value once it gets further."""
        done = {node.key for node in unit.nodes if self.ledger.manifest(node.kind, node.key)}
        return frozenset(done).union(*(checkpointed(self.ledger.store, key) for key in unit.keys if key not in done))

    def give_up(self, unit: Unit, verdict: Verdict) -> Outcome:
        """A unit that is not tried again becomes a failure record of the stage that it was at, or of its first open one."""
        done = tuple(node.key for node in unit.nodes if self.ledger.manifest(node.kind, node.key))
        still_open = [node for node in unit.nodes if node.key not in done]
        if not still_open:  # it died between its last commit and its report
            return Outcome(committed=done)
        node = next((node for node in still_open if node.key == verdict.stage), still_open[0])
        self.ledger.record_failure(
            Failure(
                kind=node.kind,
                key=node.key,
                error_class=verdict.error_class,
                message=verdict.message,
                traceback=verdict.trace,
                host=verdict.host or socket.gethostname(),
                tries=verdict.tries,
            )
        )
        return Outcome(committed=done, failed={node.key: (verdict.error_class, verdict.message)})

    def block(self, queue: Queue) -> None:
        """A `blocked` record for the first stage of each unit that will not run, unless it has one already."""
        known = {failure.key for failure in newest(self.ledger.failures()).values() if failure.error_class == "blocked"}
        for unit, cause in queue.blocked.values():
            node = unit.nodes[0]
            if not cause or node.key in known:
                continue
            failed = queue.stage(cause)
            kind = failed.kind if failed is not None else ""
            message = f"waits for {self.names.get(cause, kind)}, which failed"
            self.ledger.record_failure(
                Failure(
                    kind=node.kind, key=node.key, error_class="blocked", message=message, host=socket.gethostname(), cause=(kind, cause)
                )
            )
