"""What `run` and the driver of a detached run share: one run, watched, mirrored and answered for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from jobs.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_TRIALS_FAILED
from jobs.secrets import scrub

if TYPE_CHECKING:
    from jobs.execute.ongoing import OnTrial
    from jobs.execute.options import RunOptions
    from jobs.execute.result import RunResult
    from jobs.ledger.ledger import Ledger
    from jobs.plan.plan import Plan
    from jobs.runs.registry import OwnRun


def drive_run(
    plan: Plan,
    ledger: Ledger,
    options: RunOptions,
    own: OwnRun,
    *,
    tracking: str | None,
    shown: str,
    as_json: bool,
    whole: Plan | None = None,
) -> int:
    """Run what is missing, answer on stdout, and give the exit code. A run that is interrupted answers too, as far as it came.

    Args:
        own: the run's record, kept up to date meanwhile.
        tracking: the MLflow URI; None mirrors nothing.
        shown: the grid as it is given to another command.
        whole: the grid's plan, where `plan` is a part of it: its mirror counts all trials.
    """
    from rich.console import Console

    from jobs.cli.artifacts import grid_artifacts, trial_artifacts
    from jobs.execute.limits import Gate
    from jobs.execute.progress import Both, Terminal
    from jobs.execute.result import INTERRUPTED, RunResult, StoppedRun
    from jobs.execute.run import look_again, run_plan
    from jobs.ledger.memory import Memory
    from jobs.runs.watch import LogTail, Watch
    from jobs.tracker.session import mirrored

    if tracking is not None:
        ledger.memory = Memory()  # run, mirror and report ask for the same results
    gate, tail = Gate(options.limits), LogTail()
    reporter = Both(Terminal(plan.grid), Terminal(plan.grid, Console(file=tail, highlight=False)))

    def note(text: str) -> None:
        reporter.note(scrub(text))  # errors of store and MLflow; the log is kept in the store

    result = RunResult(stopped=INTERRUPTED)  # until it is known how far it came
    watch = Watch(own, gate, tail, note)
    try:
        with watch:
            mirror = whole or plan
            plots, pages = trial_artifacts(), grid_artifacts(mirror, ledger)
            try:
                with mirrored(mirror, ledger, tracking, note, artifacts=plots, grid_artifacts=pages) as on_trial:
                    if tracking is not None:
                        _tell_others(mirror, plan, ledger, on_trial)
                    result = run_plan(plan, ledger, options, reporter, on_trial, gate)
                    taken = ledger.quarantine.taken
                if ledger.quarantine.taken > taken:  # mirror and report read the results once more
                    look_again(plan, ledger, result)
            except KeyboardInterrupt as stop:
                result = stop.result if isinstance(stop, StoppedRun) else _broken_off(result)
                watch.answer, watch.words = _document(plan, result), _words(plan, result, shown)
                raise
            watch.exit_code = _exit_code(result)
            watch.answer, watch.words = _document(plan, result), _words(plan, result, shown)
    finally:
        reporter.close()
        if watch.answer is not None:
            click.echo(json.dumps(watch.answer) if as_json else watch.words)
    return watch.exit_code


def _broken_off(result: RunResult) -> RunResult:
    """Interrupted before the run had looked at anything, or after its end, when only the mirror was behind."""
    from jobs.execute.result import INTERRUPTED

    return replace(result, stopped=result.stopped or replace(INTERRUPTED, stages=0, trials=0))


def _tell_others(whole: Plan, part: Plan, ledger: Ledger, on_trial: OnTrial) -> None:
    """How the trials stand that are not run now."""
    from dashboards.status import states

    ours = {trial.key for trial in part.trials}
    if len(ours) < len(whole.trials):
        found = states(whole, ledger)
        for trial in whole.trials:
            if trial.key not in ours:
                on_trial(trial, found[trial.key])


def _exit_code(result: RunResult) -> int:
    if result.stopped is not None:
        return EXIT_INTERRUPTED
    whole = result.counts()["done"] == len(result.states) and not result.failed  # a pooled stage belongs to no trial
    return EXIT_DONE if whole else EXIT_TRIALS_FAILED


def _document(plan: Plan, result: RunResult) -> dict[str, Any]:
    stages = {"ran": len(result.ran), "reused": result.reused, "failed": len(result.failed)}
    found = {"grid": plan.grid, "trials": result.counts(), "stages": stages, "seconds": round(result.seconds, 3)}
    stop = result.stopped
    if stop is None:
        return found | {"stopped": None}
    left = None if stop.stages is None else {"stages": stop.stages, "trials": stop.trials}
    return found | {"stopped": {"why": stop.why, "words": stop.words, "left": left}}


def _words(plan: Plan, result: RunResult, grid: str) -> str:
    counts, stop = result.counts(), result.stopped
    if not result.ran and not result.failed and stop is None and not result.spoiled:
        told = f"{plan.grid}: nothing to run, all {counts['done']} trials are done"
    else:
        trials = ", ".join(f"{number} {state}" for state, number in counts.items())
        failed = f", {len(result.failed)} failed" if result.failed else ""
        told = f"{plan.grid}: trials: {trials}; ran {len(result.ran)} stages, reused {result.reused}{failed}"
    if stop is not None:
        left = f"{stop.stages} stages of {stop.trials} trials" if stop.stages is not None else "unknown, it had not looked yet"
        return f"{told}\nstopped: {stop.words}; left: {left}\nnext: s2l run {grid}"
    if result.spoiled:
        return f"{told}\nproved spoiled when they were read, to be made again: results of {result.spoiled} trials\nnext: s2l run {grid}"
    bad = counts["failed"] or counts["blocked"]
    return f"{told}\n" + (f"next: s2l status {grid}" if bad else f"next: s2l results {grid}; s2l report {grid} -o report.html")
