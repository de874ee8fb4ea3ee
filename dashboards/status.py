"""Where a grid stands, from the ledger alone: done, failed, blocked, missing, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dashboards.defended import REFUSED_NEXT, is_refusal
from dashboards.words import plural
from jobs.ledger.failures import Failure
from jobs.ledger.ledger import Ledger
from jobs.plan import Plan
from jobs.states import TrialState, trial_states

STATES = ("done", "failed", "blocked", "missing")

NEXT_STEPS = {
    "preempted": "the machine was taken away; run the grid again",
    "transient": "look with `s2l doctor` whether the store answers, then run the grid again",
    "oom": "smaller pieces of the batch were tried already; free memory or use a machine with more, then run again",
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


def newest(failures: Iterable[Failure]) -> dict[str, Failure]:
    """Key of a stage -> its newest failure."""
    last: dict[str, Failure] = {}
    for failure in failures:
        if failure.key not in last or failure.attempt >= last[failure.key].attempt:
            last[failure.key] = failure
    return last


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
    found = states(plan, ledger)
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


def first_line(message: str) -> str:
    return (message.strip().splitlines() or ["(no message)"])[0]


def text(plan: Plan, document: dict[str, Any]) -> str:
    """A status for people: the counts, then each group of failures with its next step."""
    counts = document["trials"]
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state] or state == "done")
    lines = [f"{plan.grid}: {plural(sum(counts.values()), 'trial')}: {told}"]
    for group in document["failures"]:
        lines += [
            "",
            f"  {group['class']}: {plural(group['count'], 'stage')} failed, {plural(len(group['trials']), 'trial')} without a result",
            f"    {first_line(group['message'])}",
            f"    next: {next_step(group['class'], group['message'])}",
            f"    trials: {', '.join(key[:10] for key in group['trials'][:6])}{' ...' if len(group['trials']) > 6 else ''}",
        ]
    if counts["missing"]:
        lines += ["", "  next: run the grid again; only what is missing runs"]
    return "\n".join(lines)
