"""Where a grid stands, from the ledger alone: done, failed, blocked, missing, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dashboards.defended import REFUSED_NEXT, is_refusal
from dashboards.words import plural
from jobs.ledger.failures import Failure, newest
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan
from jobs.states import TrialState, trial_states

STATES = ("done", "failed", "blocked", "missing")

NEXT_STEPS = {
    "preempted": "it takes its workers down: look at its memory with `s2l show TRIAL`, then `s2l retry GRID --set micro_batch=1`",
    "hung": "read with `s2l show TRIAL` where it stood still; if it is only slow, raise `retry: {hung: {after_s: ...}}` in the grid",
    "transient": "look with `s2l doctor` whether the store answers, then run the grid again",
    "oom": "smaller pieces of the batch were tried already; use more memory: `s2l retry GRID --only oom --set gpu_share=1`",
    "numerical": "the loss was no number any more; lower `lr` or use `precision: fp32`, then run again",
    "configuration": "change the grid or the model as the message says, then run again",
    "data": "mend the data set (`s2l data check FOLDER`) or the store (`s2l verify --repair`), then run again",
    "unknown": "read the traceback with `s2l show TRIAL`, then run again",
    "blocked": "mend what it waits for, then run again",
}


def next_step(error_class: str, message: str) -> str:
    """What to do about a failure; a set that a guard refused is none that needs mending."""
    return REFUSED_NEXT if is_refusal(message) else NEXT_STEPS.get(error_class, NEXT_STEPS["unknown"])


@dataclass
class _Group:
    stages: set[str] = field(default_factory=set)
    trials: set[str] = field(default_factory=set)
    message: str = ""


@dataclass(frozen=True)
class History:
    """How often the stages of a group of failures were tried in all, and when the last one failed (UTC; empty where nobody noted it)."""

    attempts: int
    tries: int
    last_at: str


def committed_keys(plan: Plan, ledger: Ledger) -> set[str]:
    """Keys of committed stages of the kinds that a plan has."""
    return {key for kind in {node.kind for node in plan.nodes()} for key in ledger.committed(kind)}


def states(plan: Plan, ledger: Ledger) -> dict[str, TrialState]:
    """The state of every trial, by trial key."""
    return trial_states(plan, committed_keys(plan, ledger), newest(ledger.failures()))


def status(plan: Plan, ledger: Ledger) -> dict[str, Any]:
    """How many trials are in which state, and the failures in groups of equal class and message.

    Returns:
        `{"trials": {"done", "failed", "blocked", "missing"}, "failures": [{"class", "message", "count", "trials"}]}`, where `count` is
        the number of failed stages of a group and `trials` holds the keys of the trials without a result because of them, blocked ones too.
    """
    return standing(plan, committed_keys(plan, ledger), ledger.failures())


def standing(plan: Plan, committed: set[str], failures: Iterable[Failure]) -> dict[str, Any]:
    """What `status` returns, of what was read from a ledger."""
    found = trial_states(plan, committed, newest(failures))
    counts = {state: sum(1 for trial in found.values() if trial.state == state) for state in STATES}
    return {"trials": counts, "failures": _groups(found)}


def _groups(found: dict[str, TrialState]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], _Group] = {}
    for trial_key, state in found.items():
        if state.failure is not None:
            failure = state.failure
            group = groups.setdefault((failure.error_class, first_line(failure.message)), _Group(message=failure.message))
            group.stages.add(failure.key)
            group.trials.add(trial_key)
    listed = [
        {"class": name, "message": group.message, "count": len(group.stages), "trials": sorted(group.trials)}
        for (name, _), group in groups.items()
    ]
    return sorted(listed, key=lambda group: (-len(group["trials"]), group["class"], group["message"]))


def histories(failures: Iterable[Failure], committed: set[str]) -> dict[tuple[str, str], History]:
    """(class, first line of the message) of the newest failures that stand -> how often their stages were tried, earlier runs too."""
    attempts: dict[str, list[Failure]] = {}
    failures = [failure for failure in failures if failure.key not in committed]
    for failure in failures:
        attempts.setdefault(failure.key, []).append(failure)
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in newest(failures).values():
        groups.setdefault((failure.error_class, first_line(failure.message)), []).extend(attempts[failure.key])
    return {
        name: History(len(found), sum(max(1, one.tries) for one in found), max(one.at for one in found)) for name, found in groups.items()
    }


def first_line(message: str) -> str:
    return (message.strip().splitlines() or ["(no message)"])[0]


def text(plan: Plan, document: dict[str, Any], history: Mapping[tuple[str, str], History] | None = None, asked: str = "") -> str:
    """A status for people: the counts, then each group of failures with its next step, and how often it was tried.

    Args:
        asked: the grid as it is given to another command; by default its name.
    """
    grid = asked or plan.grid
    counts = document["trials"]
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state] or state == "done")
    lines = [f"{plan.grid}: {plural(sum(counts.values()), 'trial')}: {told}"]
    for group in document["failures"]:
        lines += [
            "",
            f"  {group['class']}: {plural(group['count'], 'stage')} failed, {plural(len(group['trials']), 'trial')} without a result",
            f"    {first_line(group['message'])}",
            *_tried((history or {}).get((group["class"], first_line(group["message"])))),
            f"    next: {next_step(group['class'], group['message']).replace('GRID', grid)}",
            f"    trials: {', '.join(key[:10] for key in group['trials'][:6])}{' ...' if len(group['trials']) > 6 else ''}",
        ]
    if counts["failed"] or counts["blocked"]:
        lines += ["", f"  next: s2l retry {grid} runs again what failed; s2l run {grid} what is missing too"]
    elif counts["missing"]:
        lines += ["", f"  next: s2l run {grid}; only what is missing runs"]
    return "\n".join(lines)


def _tried(history: History | None) -> list[str]:
    if history is None:
        return []
    at = f", the last one at {history.last_at}" if history.last_at else ""
    tries = "1 try" if history.tries == 1 else f"{history.tries:,} tries"
    return [f"    {plural(history.attempts, 'failed attempt')}, {tries} in all{at}"]
