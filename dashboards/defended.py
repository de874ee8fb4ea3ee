"""What a defence did, in words: an epsilon never stands without what it protects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.results import document_of
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Trial
from jobs.stages.specs import ShakeStage
from s2l_core.specs.defences import REFUSED, DefenceSpec

FACTS = "defence.json"
REFUSED_NEXT = "nothing: the defence `reject` did what it is for, and the report counts it; leave it out of `defence` to train on such sets"

Facts = Mapping[str, Any]


def defence_of(trial: Trial) -> DefenceSpec | None:
    """The defence of a trial's shake."""
    spec = trial.shake.spec if trial.shake is not None else None
    return spec.defence if isinstance(spec, ShakeStage) else None


def facts_of(ledger: Ledger, trial: Trial) -> dict[str, Any] | None:
    """What a trial's defence did; None without one, and before the shake is done."""
    if trial.shake is None or defence_of(trial) is None:
        return None
    return document_of(ledger, trial.shake, FACTS)


def is_refusal(message: str) -> bool:
    """Whether a failure is the defence `reject` at work."""
    return message.startswith(REFUSED)


def protects(found: Sequence[Facts]) -> list[str]:
    """What the epsilons among the facts protect, and on what conditions: each such statement once."""
    return list(dict.fromkeys(f"{facts['protects']} {facts['conditions']}" for facts in found if facts["kind"] == "dp"))


def defence_words(found: Sequence[Facts]) -> str:
    """What one defence did in one or several shakes: `epsilon 7.99 at delta 1e-05, noise 0.95`."""
    kind = found[0]["kind"] if found else None
    if kind == "dp":
        return f"epsilon {_span(found, 'epsilon')} at delta {_span(found, 'delta')}, noise {_span(found, 'noise_multiplier')}"
    if kind == "clip-noise":
        return f"noise {_span(found, 'noise_multiplier')}, no epsilon"
    if kind == "l2-to-base":
        return f"L2 {_span(found, 'distance')} from the base"
    if kind == "early-stopping":
        return f"weights after step {_span(found, 'kept_step')} kept, of {_span(found, 'steps')} done"
    if kind == "mix":
        return f"mixed with {_span(found, 'public_images')} public images"
    return f"let through: {_span(found, 'share')} of the set near own samples" if kind == "reject" else ""


def _span(found: Sequence[Facts], name: str) -> str:
    values = [float(facts[name]) for facts in found]
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"
