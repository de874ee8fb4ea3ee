"""What the mirror is told: a trial came to rest. One line of JSON, enough with the ledger to write the trial's run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from jobs.plan.plan import Trial
from jobs.states import TrialState
from jobs.tracker.beside import keys_of

Rest = Literal["done", "failed", "blocked"]


@dataclass(frozen=True)
class Event:
    """A trial's new state.

    Attributes:
        axes: as in the trial; None where an axis does not apply.
        metrics: attack -> key of its `metrics` stage.
        shake: key of the fine-tuning stage, or None.
        failure: `class`, `message`, `stage` and `host` of what failed; empty when done.
        at_ms: when the driver knew.
        beside: kind -> key of what is measured beside the attacks (extraction, fidelity, memorisation); a spool of an older S2L has none.
    """

    trial: str
    axes: dict[str, Any]
    state: Rest
    metrics: dict[str, str]
    shake: str | None
    failure: dict[str, str]
    at_ms: int
    beside: dict[str, str] = field(default_factory=dict)

    def to_line(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def event_of(trial: Trial, state: TrialState) -> Event:
    """The event of a trial that is done, failed or blocked."""
    assert state.state != "missing", "a trial that may still run has nothing to report"
    metrics = {attack: node.key for attack, node in trial.metrics.items()}
    shake = trial.shake.key if trial.shake is not None else None
    now_ms = time.time_ns() // 1_000_000
    return Event(trial.key, dict(trial.axes), state.state, metrics, shake, _failure(state), now_ms, keys_of(trial))


def event_from_line(line: bytes) -> Event | None:
    """The event of a whole line; None for a line that a crash cut short."""
    try:
        value = json.loads(line)
        return Event(**value)
    except (ValueError, TypeError):
        return None


def _failure(state: TrialState) -> dict[str, str]:
    found: Mapping[str, str] = {}
    if state.failure is not None:
        first_line = (state.failure.message.strip().splitlines() or [""])[0]
        found = {"class": state.failure.error_class, "message": first_line, "host": state.failure.host}
    stage = {"stage": f"{state.cause.kind} {state.cause.key}"} if state.cause is not None else {}
    return {**found, **stage} if state.state != "done" else {}
