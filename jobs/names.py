"""Readable names of stages and trials, for terminals and messages. Nothing is looked up by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.graph import Node, ancestors
from jobs.plan import Plan


def trial_name(axes: Mapping[str, Any]) -> str:
    """`alba, lora+dreambooth, rank=8, seed=0`: bare words for domain and method, `name=value` for the rest."""
    words = [str(axes[name]) for name in ("domain", "method") if isinstance(axes.get(name), str)]
    words += [f"{name}={_short(value)}" for name, value in axes.items() if value is not None and _short(value) not in words]
    return ", ".join(words)


def _short(value: Any) -> str:
    return str(value) if not isinstance(value, dict | list) else f"{type(value).__name__} of {len(value)}"


def stage_names(plan: Plan) -> dict[str, str]:
    """Key -> name of every stage; a stage shared by trials is named by what they share."""
    names: dict[str, str] = {}
    for trial in plan.trials:
        for node in ancestors(list(trial.leaves())):
            if node.key not in names:
                names[node.key] = f"{node.kind} {_what(node, trial_name(trial.axes))}".strip()
    for pool in plan.pools:
        names.setdefault(pool.node.key, f"pooled {pool.attack} {trial_name(pool.axes)}")
    return names


def _what(node: Node, trial: str) -> str:
    spec = node.spec
    source = getattr(spec, "source", None)
    if source is not None:
        return str(getattr(source, "identity", None) or getattr(source, "domain", None) or getattr(source, "name", None) or source.source)
    if node.kind in ("sp", "prior"):
        return str(getattr(getattr(spec, "synthesis", None), "name", ""))
    attack = f"{spec.attack.kind} " if hasattr(spec, "attack") else ""
    if node.kind == "score" and node.parent("shake") is None:
        data = node.parent("data")
        return f"{attack}before {_what(data, trial) if data else ''}".strip()
    if node.kind == "blind":
        return _what(node.parents[0][1], trial)
    if node.kind == "metrics":
        after = node.parent("after")
        attack = f"{after.spec.attack.kind} " if after is not None and hasattr(after.spec, "attack") else ""
    return f"{attack}{trial}"
