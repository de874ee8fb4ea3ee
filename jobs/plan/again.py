"""What `s2l retry` takes up: trials that failed, or wait for what failed, by class of failure and by what they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from jobs.errors import InputError
from jobs.grid.messages import listed, unknown
from jobs.ledger.failures import Failure, latest
from jobs.ledger.ledger import Ledger
from jobs.plan.demand import missing_nodes
from jobs.plan.graph import ancestors
from jobs.plan.plan import Plan, Trial


@dataclass(frozen=True)
class Again:
    """What is taken up again.

    Attributes:
        plan: the grid's plan with the trials and pools that are taken up, and no others.
        failures: the newest records of failed and blocked stages in it, taken up before or not.
    """

    plan: Plan
    failures: tuple[Failure, ...]

    def stages(self, ledger: Ledger) -> dict[str, int]:
        """kind -> how many stages are to run."""
        counts: dict[str, int] = {}
        for node in missing_nodes(self.plan, ledger):
            counts[node.kind] = counts.get(node.kind, 0) + 1
        return counts

    def groups(self) -> list[dict[str, Any]]:
        """The failures that are taken up, by class and message: `{"class", "message", "count"}`."""
        counts: dict[tuple[str, str], int] = {}
        for failure in self.failures:
            if failure.error_class != "blocked":
                name = failure.error_class, (failure.message.strip().splitlines() or [""])[0]
                counts[name] = counts.get(name, 0) + 1
        return [{"class": name, "message": message, "count": count} for (name, message), count in sorted(counts.items())]


def select(plan: Plan, ledger: Ledger, only: AbstractSet[str], patterns: Sequence[str]) -> Again:
    """The part of a plan that failed, and of it what an earlier retry took up and did not get done.

    Args:
        only: classes of failure; empty: all.
        patterns: `axis=value,axis=value` (all hold) or the beginning of a trial's key; both may have `*` and `?`. A trial is taken up
            when one of several patterns fits; empty: all.

    Raises:
        InputError: a pattern names no axis, or fits no trial of the grid.
    """
    committed = {key for kind in {node.kind for node in plan.nodes()} for key in ledger.committed(kind)}
    failures = latest(ledger.failures())  # also what a retry took up that was interrupted: its stages are not committed
    asked = {
        failure.key
        for failure in failures.values()
        if failure.error_class != "blocked" and failure.error_class in (only or {failure.error_class})
    }
    wanted = _fitting(plan, patterns)
    trials, done = [], set()
    for trial in plan.trials:
        still_open = [leaf for leaf in trial.leaves() if leaf.key not in committed]
        if not still_open:
            done.add(trial.key)
        elif trial.key in wanted and any(node.key in asked and node.key not in committed for node in ancestors(still_open)):
            trials.append(trial)
    whole = done | {trial.key for trial in trials}
    ours = {trial.key for trial in trials}
    pools = [
        pool
        for pool in plan.pools
        if whole.issuperset(pool.trials) and (ours.intersection(pool.trials) or (not patterns and pool.node.key in asked - committed))
    ]
    part = replace(plan, trials=trials, pools=pools)
    taken = {node.key for node in part.nodes()} - committed
    return Again(part, tuple(failure for key, failure in failures.items() if key in taken))


def mark(again: Again, ledger: Ledger) -> None:
    """Note on the records that their stages are taken up: they stay as history, and say no longer how things stand."""
    for failure in again.failures:
        ledger.mark_tried_again(failure)


def _fitting(plan: Plan, patterns: Sequence[str]) -> set[str]:
    """Keys of the trials that one of the patterns fits; of all trials where there is none."""
    if not patterns:
        return {trial.key for trial in plan.trials}
    found: set[str] = set()
    for pattern in patterns:
        fits = {trial.key for trial in plan.trials if _fits(plan, trial, pattern)}
        if not fits:
            raise InputError(f"--trials {pattern}: fits no trial of {plan.grid}; {_allowed(plan)}")
        found |= fits
    return found


def _fits(plan: Plan, trial: Trial, pattern: str) -> bool:
    if "=" not in pattern:
        return fnmatchcase(trial.key, f"{pattern.lower()}*")
    return all(_holds(plan, trial, *part.partition("=")[::2]) for part in pattern.split(","))


def _holds(plan: Plan, trial: Trial, axis: str, value: str) -> bool:
    name = axis.strip()
    if name not in plan.axes:
        raise InputError(f"--trials {axis}={value}: {unknown('axis', name, plan.axes)}; {_allowed(plan)}")
    return fnmatchcase(_told(trial.axes.get(name)), value.strip())


def _told(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _allowed(plan: Plan) -> str:
    some: Iterable[str] = (f"{name}={listed(values[:3])}" for name, values in plan.axes.items())
    return f"a pattern is the beginning of a trial's key, or axis=value such as {'; '.join(some)}"
