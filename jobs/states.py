"""The state of a trial, from the ledger alone: the one rule behind `run`, `status` and the MLflow mirror."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Literal

from jobs.ledger.failures import Failure
from jobs.plan.graph import Node, ancestors
from jobs.plan.plan import Plan, Trial

State = Literal["done", "failed", "blocked", "missing"]

SHARED_KINDS = {"data", "base", "sp", "prior", "blind", "captions", "choice"}


@dataclass(frozen=True)
class TrialState:
    """A trial's state; `cause` is the failed stage and its newest failure for `failed` and `blocked`."""

    state: State
    cause: Node | None = None
    failure: Failure | None = None


def trial_state(trial: Trial, committed: Set[str], failures: Mapping[str, Failure]) -> TrialState:
    """Done when every leaf is committed; failed when a stage of its own failed; blocked when a stage it shares failed.

    Args:
        committed: keys of committed stages.
        failures: key of a stage -> its newest failure record.
    """
    open_leaves = [leaf for leaf in trial.leaves() if leaf.key not in committed]
    if not open_leaves:
        return TrialState("done")
    own = trial.shake.key if trial.shake is not None else None
    for node in ancestors(open_leaves):
        failure = failures.get(node.key)
        if node.key in committed or failure is None or failure.error_class == "blocked":
            continue
        hangs = own is not None and _hangs_on(node, own)  # a set that the trial's own shake draws is its own
        shared = not hangs and (own is not None or node.kind in SHARED_KINDS or node.key in _candidates(open_leaves))
        return TrialState("blocked" if shared else "failed", node, failure)
    return TrialState("missing")


def trial_states(plan: Plan, committed: Set[str], failures: Mapping[str, Failure]) -> dict[str, TrialState]:
    """The state of every trial of a plan, by trial key."""
    return {trial.key: trial_state(trial, committed, failures) for trial in plan.trials}


def _candidates(leaves: list[Node]) -> set[str]:
    """Scores among which an attack is chosen: of other domains than the trial's, for all trials."""
    return {score.key for node in ancestors(leaves) if node.kind == "choice" for _, score in node.parents}


def _hangs_on(node: Node, key: str) -> bool:
    return any(above.key == key for above in ancestors([node]))
