"""Running a plan: what is missing, in rounds, here or on Ray Tune. The ledger alone says what is done."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing

from jobs.demand import AskedOnce, Committed, missing_nodes
from jobs.errors import OutOfReach
from jobs.execute.backends import LocalBackend, ray_backend
from jobs.execute.limits import Gate, Stop
from jobs.execute.look import Look
from jobs.execute.losses import Verdict
from jobs.execute.options import RunOptions
from jobs.execute.order import WorkOrder
from jobs.execute.progress import Reporter
from jobs.execute.queue import Outcome, Queue
from jobs.execute.result import RunResult
from jobs.execute.units import Unit, make_units
from jobs.execute.warm import Scratch, run_name, scratch_of
from jobs.graph import Node
from jobs.ledger.failures import Failure, newest
from jobs.ledger.ledger import Ledger
from jobs.ledger.paths import Paths
from jobs.ledger.patient import patient
from jobs.ledger.retention import drop
from jobs.names import stage_names
from jobs.plan import Plan, Trial
from jobs.secrets import scrub
from jobs.states import TrialState, trial_states

BUSY_POLL_S = 2.0
MANY_RESULTS = 1000
"""From so many on, reading them back takes long enough to say so."""
MAX_REDONE = 3
"""How often one run makes the same corrupt stage again before it gives the store up."""


OnTrial = Callable[[Trial, TrialState], None]
"""Told of every trial that is complete, failed or blocked; never raises."""


class _Run:
    """One run of one plan: keeps what is committed and tells trials that are complete."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        options: RunOptions,
        reporter: Reporter,
        on_trial: Callable[[Trial, TrialState], None],
        gate: Gate | None = None,
    ) -> None:
        self.plan, self.options, self.reporter, self.on_trial = plan, options, reporter, on_trial
        self.policy = plan.retry
        self.ledger = patient(ledger, self.policy.transient, say=self.tell)
        self.halved: Mapping[str, int] = {}
        self.gate = gate or Gate(options.limits)
        self.result = RunResult()
        self.look: Look | None = None
        self.names = stage_names(plan)
        self.inputs = {content: str(path) for content, path in plan.inputs.items()}
        self._waits: dict[str, list[Trial]] = {}
        self._open: dict[str, int] = {}

    def expect(self, missing: Iterable[Node]) -> None:
        """Note which trials wait for which stages; those that wait for none are complete."""
        keys = {node.key for node in missing}
        self._waits, self._open = {}, {}
        for trial in self.plan.trials:
            open_leaves = {leaf.key for leaf in trial.leaves()} & keys
            self._open[trial.key] = len(open_leaves)
            for key in open_leaves:
                self._waits.setdefault(key, []).append(trial)

    def order_of(self, unit: Unit) -> str:
        if self.look is not None:
            self.look.begin()  # not earlier: the first unit does not wait for it
        return WorkOrder.of(unit, self.inputs, self.halved).model_dump_json()

    def note(self, unit: Unit, outcome: Outcome) -> None:
        self.result.ran.update(outcome.ran)
        self.result.failed.update({key: (found[0], found[1]) for key, found in outcome.failed.items()})
        for key in outcome.ran:
            self.result.failed.pop(key, None)
        failed = [scrub(f"{self.names.get(key, key)}: {found[0]}: {found[1]}") for key, found in outcome.failed.items()]
        for text in outcome.notes:
            self.tell(text)
        self.reporter.finished([self.names.get(key, key) for key in outcome.ran], failed)
        for key in outcome.committed:
            for trial in self._waits.pop(key, ()):
                self._open[trial.key] -= 1
                if not self._open[trial.key]:
                    self.on_trial(trial, TrialState("done"))

    def say(self, key: str, fraction: float, words: str) -> None:
        self.reporter.stage(self.names.get(key, key), fraction, words)

    def tell(self, text: str) -> None:
        self.reporter.note(scrub(text))

    def reach_store(self) -> None:
        """Return when the store answers; it is waited for as long as the grid's policy says."""
        next(iter(self.ledger.store.list(Paths.grids)), None)

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


def run_plan(
    plan: Plan,
    ledger: Ledger,
    options: RunOptions,
    reporter: Reporter,
    on_trial: Callable[[Trial, TrialState], None],
    gate: Gate | None = None,
) -> RunResult:
    """Run what is missing and return when nothing more can run, or nothing more may.

    Args:
        on_trial: called in this process for every trial that is complete, failed or blocked.
        gate: lets units through; by default one with the options' limits.

    Raises:
        OutOfReach: store or cluster do not answer.
        KeyboardInterrupt: the user stopped it; the ledger is whole, running again goes on.
    """
    started = time.perf_counter()
    run = _Run(plan, ledger, options, reporter, on_trial, gate)
    for node in ledger.stale(plan.nodes()):
        manifest = ledger.manifest(node.kind, node.key)
        if manifest is not None:
            ledger.retire(manifest, "computed from a parent that was made again with other bytes")
            reporter.note(f"stale, will be made again: {run.names.get(node.key, node.key)}")
    done = AskedOnce(ledger)
    missing = _missing(plan, done)
    total = len(plan.nodes())
    run.expect(missing)
    reporter.begin(len(missing), total - len(missing))
    already = [trial for trial in plan.trials if not run._open[trial.key]]
    for trial in already:
        on_trial(trial, TrialState("done"))
    run.look = _look(plan, run.ledger, done, reporter)
    try:
        anything, kept = _until_whole(run, missing)
    finally:
        run.look.stop()
    still_open = {node.key for node in _missing(plan, run.ledger)} if anything else set()
    run.result.reused = total - len(run.result.ran | still_open)
    run.result.failed = {key: found for key, found in run.result.failed.items() if key in still_open}  # not what another driver made
    run.result.states = _final_states(run, still_open)
    run.result.stopped = _stopped(run, still_open) if kept else None
    _retain(run)
    run.result.seconds = time.perf_counter() - started
    return run.result


def _look(plan: Plan, ledger: Ledger, done: Committed, reporter: Reporter) -> Look:
    """Reads the results that are there already. Other stages are read when they are used."""
    leaves = [leaf.id for leaf in dict.fromkeys(plan.leaves()) if leaf.key in done.committed(leaf.kind)]
    if len(leaves) > MANY_RESULTS:
        reporter.note(f"reading {len(leaves):,} results that are there already")
    return Look(ledger, leaves)


def _until_whole(run: _Run, missing: list[Node]) -> tuple[bool, bool]:
    """Run what is missing, and again what of the results that were there proves spoiled.

    Returns:
        Whether there was anything to run, and whether the gate kept back what was left.
    """
    assert run.look is not None
    anything, kept = bool(missing), False
    while True:
        if missing:
            with closing(scratch_of(run_name())) as scratch:
                kept = _rounds(run, missing, scratch)
        found = [] if kept else run.look.finish()
        if not found:
            return anything, kept
        for words in found:
            run.reporter.note(words)
        anything, missing = True, _missing(run.plan, run.ledger)
        run.expect(missing)
        run.reporter.again(len(missing))


def _missing(plan: Plan, ledger: Committed) -> list[Node]:
    """What is to run, parents before children."""
    wanted = missing_nodes(plan, ledger)
    return [node for node in plan.nodes() if node in wanted]


def _rounds(run: _Run, missing: list[Node], scratch: Scratch) -> bool:
    """Rounds until nothing is missing but what failed: a round ends early when another driver holds leases or a parent proved corrupt.

    Returns:
        Whether the gate kept back what was left.
    """
    backend = LocalBackend(run, scratch) if run.options.local else ray_backend(run, scratch)
    redone: Counter[str] = Counter()
    with backend:
        while True:
            queue = Queue(make_units(_worth_trying(run, missing)), run.gate)
            while (unit := queue.take(here=True)) is not None:
                backend.run_here(queue, unit)
            if not queue.exhausted:
                backend.run(queue)
            run.block(queue)
            if queue.refused or run.gate.is_closed():
                return True
            outcomes = queue.finished.values()
            redone.update({key for outcome in outcomes for key in outcome.redo})
            _check_store_keeps(run, redone)
            busy = [key for outcome in outcomes for key in outcome.busy]
            if not busy and not any(outcome.redo for outcome in outcomes):
                return False
            if busy and not any(outcome.ran or outcome.redo for outcome in outcomes):
                _wait_for_one(run, busy)
            if run.gate.is_closed():
                return True
            missing = _missing(run.plan, run.ledger)
            run.expect(missing)
            run.reporter.again(len(missing))


def _wait_for_one(run: _Run, busy: list[str]) -> None:
    """Until another driver gives one of its stages back, or is seen to be dead: workers come and go, and only who stays can tell that."""
    run.reporter.note("waiting for stages that another driver is running")
    while not run.gate.is_closed() and not [
        key for key in busy if run.ledger.leases.is_free(key)
    ]:  # all are asked: each one's silence counts
        time.sleep(BUSY_POLL_S)


def _stopped(run: _Run, still_open: set[str]) -> Stop | None:
    """What another run would do, when this one was kept from it."""
    left = _worth_trying(run, [node for node in run.plan.nodes() if node.key in still_open])
    if not left:
        return None
    return run.gate.stopped(len(left), sum(state.state == "missing" for state in run.result.states.values()))


def _retain(run: _Run) -> None:
    dropped = drop(run.ledger, run.plan.nodes(), run.options.keep)
    if dropped.shakes:
        size = f"{dropped.bytes / 1e6:.1f} MB, --keep {run.options.keep}"
        run.reporter.note(f"dropped the weights of {dropped.shakes} shakes ({size}); they are made again when asked for")


def _check_store_keeps(run: _Run, redone: Counter[str]) -> None:
    for key, times in redone.items():
        if times > MAX_REDONE:
            name = run.names.get(key, key)
            raise OutOfReach(
                f"the store gave back other bytes than were written for {name}, {times} times; is its disk failing? see s2l verify"
            )


def _worth_trying(run: _Run, missing: list[Node]) -> list[Node]:
    """The missing stages without those that failed in this run and without what hangs on them: no later round can make those."""
    hopeless: set[str] = set()
    for node in missing:
        if node.key in run.result.failed or any(parent.key in hopeless for _, parent in node.parents):
            hopeless.add(node.key)
    return [node for node in missing if node.key not in hopeless]


def _final_states(run: _Run, still_open: set[str]) -> dict[str, TrialState]:
    committed = {node.key for node in run.plan.nodes()} - still_open
    failures = newest(run.ledger.failures()) if still_open else {}
    states = trial_states(run.plan, committed, failures)
    for trial in run.plan.trials:
        if states[trial.key].state in ("failed", "blocked"):
            run.on_trial(trial, states[trial.key])
    return states
