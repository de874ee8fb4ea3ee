"""What a run did."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.execute.limits import Stop
from jobs.states import TrialState

INTERRUPTED = Stop("interrupted", "interrupted")


class StoppedRun(KeyboardInterrupt):
    """A run was interrupted: by the user, a signal, `s2l cancel --now`, or because its time was up.

    Attributes:
        result: how far it came, as far as its driver knew.
    """

    def __init__(self, result: RunResult) -> None:
        super().__init__()
        self.result = result


@dataclass
class RunResult:
    """What a run did.

    Attributes:
        ran: keys of stages this run computed.
        reused: stages of the plan that were committed before or by another driver.
        failed: key -> (class, message) of stages that failed.
        states: the state of every trial at the end.
        stopped: why it ended before all was done that it could do; None when nothing is left but what failed.
        spoiled: trials whose results proved spoiled after they had been done, when they were read for the mirror and the report.
    """

    ran: set[str] = field(default_factory=set)
    reused: int = 0
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    states: dict[str, TrialState] = field(default_factory=dict)
    stopped: Stop | None = None
    spoiled: int = 0
    seconds: float = 0.0

    def counts(self) -> dict[str, int]:
        found = {"done": 0, "failed": 0, "blocked": 0}
        for state in self.states.values():
            if state.state in found:
                found[state.state] += 1
        return found
