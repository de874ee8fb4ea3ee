"""Running a plan: what is missing, in rounds, here or on Ray Tune. The ledger alone says what is done."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace

from jobs.errors import OutOfReach
from jobs.execute.backends import LocalBackend, ray_backend
from jobs.execute.limits import Gate, Stop
from jobs.execute.look import Look
from jobs.execute.ongoing import Ongoing, OnTrial
from jobs.execute.options import RunOptions
from jobs.execute.progress import Reporter
from jobs.execute.queue import Queue
from jobs.execute.result import INTERRUPTED, RunResult, StoppedRun
from jobs.execute.units import make_units
from jobs.ledger.failures import Failure, newest
from jobs.ledger.ledger import Ledger
from jobs.plan.demand import AskedOnce, Committed, missing_nodes
from jobs.plan.graph import Node
from jobs.plan.plan import Plan
from jobs.states import TrialState, trial_states
from jobs.worker.warm import Scratch, run_name, scratch_of

BUSY_POLL_S = 2.0
MANY_RESULTS = 1000
"""From so many on, reading them back takes long enough to say so."""
MAX_REDONE = 3
"""How often one run makes the same corrupt stage again before it gives the store up."""


def run_plan(
    plan: Plan,
    ledger: Ledger,
    options: RunOptions,
    reporter: Reporter,
    on_trial: OnTrial,
    gate: Gate | None = None,
) -> RunResult:
    """Run what is missing and return when nothing more can run, or nothing more may.

    Args:
        on_trial: called in this process for every trial that is complete, failed or blocked.
        gate: lets units through; by default one with the options' limits.

    Raises:
        OutOfReach: store or cluster do not answer.
        StoppedRun: it was interrupted; the ledger is whole, running again goes on.
    """
    started = time.perf_counter()
    run = Ongoing(plan, ledger, options, reporter, on_trial, gate)
    try:
        _run(run, plan, ledger)
    except (KeyboardInterrupt, SystemExit) as end:  # so Ray ends on a SIGTERM that comes while it starts
        if isinstance(end, SystemExit) and end.code != signal.SIGTERM:
            raise
        _cut_short(run)
        run.result.seconds = time.perf_counter() - started
        raise StoppedRun(run.result) from end
    run.result.seconds = time.perf_counter() - started
    return run.result


def _run(run: Ongoing, plan: Plan, ledger: Ledger) -> None:
    reporter = run.reporter
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
    for trial in run.complete():
        run.came_to_rest(trial, TrialState("done"))
    run.look = _look(plan, run.ledger, done, reporter)
    try:
        anything, kept = _until_whole(run, missing)
    finally:
        run.look.stop()
    still_open = {node.key for node in _missing(plan, run.ledger)} if anything else set()
    _count(run, still_open)
    run.result.states = _final_states(run, still_open)
    run.result.stopped = _stopped(run, still_open) if kept else None
    _retain(run)


def _count(run: Ongoing, still_open: set[str]) -> None:
    run.result.reused = len(run.plan.nodes()) - len(run.result.ran | still_open)
    run.result.failed = {key: found for key, found in run.result.failed.items() if key in still_open}  # not what another driver made


def _cut_short(run: Ongoing) -> None:
    """How far an interrupted run came, without another look at the store: nobody wants to wait for that now."""
    result, still_open = run.result, run.missing
    result.stopped = run.gate.stopped() if run.gate.is_closed() else INTERRUPTED
    if still_open is not None:
        kinds = {node.key: node.kind for node in run.plan.nodes()}
        failures = {key: Failure(kind=kinds[key], key=key, error_class=name, message=words) for key, (name, words) in result.failed.items()}
        _count(run, still_open)
        result.states = trial_states(run.plan, set(kinds) - still_open, failures)
        stages, trials = _left(run, still_open)
        result.stopped = replace(result.stopped, stages=stages, trials=trials)


def look_again(plan: Plan, ledger: Ledger, result: RunResult) -> None:
    """Set right what a result says of its trials, when what was done went to quarantine after the run had ended."""
    missing = {node.key for node in _missing(plan, ledger)}
    states = _states(plan, ledger, missing)
    result.spoiled = sum(state.state == "done" and states[trial].state == "missing" for trial, state in result.states.items())
    result.states = states


def _look(plan: Plan, ledger: Ledger, done: Committed, reporter: Reporter) -> Look:
    """Reads the results that are there already. Other stages are read when they are used."""
    leaves = [leaf.id for leaf in dict.fromkeys(plan.leaves()) if leaf.key in done.committed(leaf.kind)]
    if len(leaves) > MANY_RESULTS:
        reporter.note(f"reading {len(leaves):,} results that are there already")
    return Look(ledger, leaves)


def _until_whole(run: Ongoing, missing: list[Node]) -> tuple[bool, bool]:
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


def _rounds(run: Ongoing, missing: list[Node], scratch: Scratch) -> bool:
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


def _wait_for_one(run: Ongoing, busy: list[str]) -> None:
    """Until another driver gives one of its stages back, or is seen to be dead: workers come and go, and only who stays can tell that."""
    run.reporter.note("waiting for stages that another driver is running")
    while not run.gate.is_closed() and not [
        key for key in busy if run.ledger.leases.is_free(key)
    ]:  # all are asked: each one's silence counts
        time.sleep(BUSY_POLL_S)


def _stopped(run: Ongoing, still_open: set[str]) -> Stop | None:
    """What another run would do, when this one was kept from it."""
    stages, trials = _left(run, still_open)
    return run.gate.stopped(stages, trials) if stages else None


def _left(run: Ongoing, still_open: set[str]) -> tuple[int, int]:
    """Stages and trials that another run would do."""
    stages = _worth_trying(run, [node for node in run.plan.nodes() if node.key in still_open])
    return len(stages), sum(state.state == "missing" for state in run.result.states.values())


def _retain(run: Ongoing) -> None:
    dropped = run.retain()
    if dropped.shakes:
        size = f"{dropped.bytes / 1e6:.1f} MB, --keep {run.options.keep}"
        run.reporter.note(f"dropped the weights of {dropped.shakes} shakes ({size}); they are made again when asked for")


def _check_store_keeps(run: Ongoing, redone: Counter[str]) -> None:
    for key, times in redone.items():
        if times > MAX_REDONE:
            name = run.names.get(key, key)
            raise OutOfReach(
                f"the store gave back other bytes than were written for {name}, {times} times; is its disk failing? see s2l verify"
            )


def _worth_trying(run: Ongoing, missing: list[Node]) -> list[Node]:
    """The missing stages without those that failed in this run and without what hangs on them: no later round can make those."""
    hopeless: set[str] = set()
    for node in missing:
        if node.key in run.result.failed or any(parent.key in hopeless for _, parent in node.parents):
            hopeless.add(node.key)
    return [node for node in missing if node.key not in hopeless]


def _final_states(run: Ongoing, still_open: set[str]) -> dict[str, TrialState]:
    states = _states(run.plan, run.ledger, still_open)
    for trial in run.plan.trials:
        if states[trial.key].state != "missing":  # done ones too: another driver may have made what they waited for
            run.came_to_rest(trial, states[trial.key])
    return states


def _states(plan: Plan, ledger: Ledger, missing: set[str]) -> dict[str, TrialState]:
    committed = {node.key for node in plan.nodes()} - missing
    return trial_states(plan, committed, newest(ledger.failures()) if missing else {})
