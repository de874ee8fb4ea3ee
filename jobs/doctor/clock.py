"""How far another node's clock is from ours, told from a few questions and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.doctor.check import Check

WARN_S, FAIL_S = 2.0, 30.0
_QUESTIONS = 5
_MEND = "run an NTP client on that node; S3 refuses signatures that are 15 minutes off, and times in manifests and MLflow would mislead"


@dataclass(frozen=True)
class Skew:
    """Seconds that the other clock is ahead, give or take `error`."""

    ahead: float
    error: float


def measure(theirs: Callable[[], float], ours: Callable[[], float]) -> Skew:
    """The skew by the quickest of a few round trips: what their clock says lies between the two times that ours says around it."""
    best: Skew | None = None
    for _ in range(_QUESTIONS):
        before = ours()
        said = theirs()
        after = ours()
        found = Skew(said - (before + after) / 2, abs(after - before) / 2)
        if best is None or found.error < best.error:
            best = found
    assert best is not None
    return best


def judged(skew: Skew, node: str) -> Check:
    """A finding; only what is beyond the error of measurement counts."""
    sure = max(0.0, abs(skew.ahead) - skew.error)
    state: Check = Check("clock", "ok", f"{skew.ahead:+.2f} s against this machine, give or take {skew.error:.2f}", node=node)
    if sure <= WARN_S:
        return state
    return Check("clock", "failed" if sure > FAIL_S else "warning", state.found, _MEND, node)
