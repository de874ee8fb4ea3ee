"""Readable names of stages and trials, for terminals and messages. Nothing is looked up by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.plan.graph import Node, ancestors
from jobs.plan.plan import Plan, Trial


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
    told = {trial.key: trial_name(trial.axes) for trial in plan.trials}
    for trial in plan.trials:  # a trial's own stages first: another trial may hang on its shake
        if trial.shake is not None:
            names.setdefault(trial.shake.key, f"shake {_what(trial.shake, told[trial.key])}")
            own = trial.shake.parent("own")
            if own is not None:
                names.setdefault(own.key, f"sp {_what(own, '')}, as the guard draws it")
        for attack, node in trial.metrics.items():  # under the name that the trial calls the attack by
            names.setdefault(node.key, f"metrics {attack} {told[trial.key]}")
            before, after = node.parent("before"), node.parent("after")
            choice = before.parent("choice") if before is not None else None
            if before is not None and choice is not None:
                names.setdefault(choice.key, f"choice {attack}")
                names.setdefault(before.key, f"score {attack} before {_attacked(before, told[trial.key])}")
            if after is not None and after.parent("shake") is not None:
                names.setdefault(after.key, f"score {attack} {told[trial.key]}")
        _name_drawn(names, trial, told[trial.key])
        if trial.memorisation is not None and trial.memorisation.parent("shake") is not None:
            names.setdefault(trial.memorisation.key, f"memorisation {told[trial.key]}")
    for trial in plan.trials:
        for node in ancestors(list(trial.leaves())):
            if node.key not in names:
                names[node.key] = f"{node.kind} {_what(node, told[trial.key])}".strip()
    for pool in plan.pools:
        names.setdefault(pool.node.key, f"pooled {pool.attack} {trial_name(pool.axes)}")
    return names


def _name_drawn(names: dict[str, str], trial: Trial, told: str) -> None:
    """Names what is measured of the images that a trial's model draws, and these sets of images."""
    for leaf, words in ((trial.fidelity, "drawn"), (trial.extraction, "candidates")):
        drawn = leaf.parent("drawn") if leaf is not None else None
        if leaf is not None and drawn is not None and drawn.parent("shake") is not None:
            names.setdefault(leaf.key, f"{leaf.kind} {told}")
            names.setdefault(drawn.key, f"sp {words} after {told}")
    unshaken = trial.extraction.parent("before") or trial.extraction if trial.extraction is not None else None
    candidates = unshaken.parent("drawn") if unshaken is not None else None
    if candidates is not None:
        names.setdefault(candidates.key, f"sp {_what(candidates, '')}, candidates")


def _what(node: Node, trial: str) -> str:
    spec = node.spec
    source = getattr(spec, "source", None)
    if source is not None:
        return next(str(getattr(source, name)) for name in ("identity", "domain", "name", "what", "source") if getattr(source, name, None))
    if node.kind in ("sp", "prior"):
        drawn = str(getattr(getattr(spec, "synthesis", None), "name", ""))
        return drawn if node.parent("shake") is None else f"{drawn}, round {_round(node)}".removeprefix(", ")
    if node.kind in ("score", "fidelity", "extract"):
        attack = f"{spec.attack.kind} " if hasattr(spec, "attack") else ""
        return f"{attack}before {_attacked(node, trial)}".strip()
    if node.kind == "memorisation":
        return f"before {getattr(spec, 'name', '')}"
    if node.kind == "captions":
        return f"{spec.captioner.kind} {_what(node.parents[0][1], trial)}"  # type: ignore[attr-defined]
    if node.kind == "blind":
        return _what(node.parents[0][1], trial)
    if node.kind == "shake" and node.parent("train") is not None:
        return ", ".join([*([trial] if trial else []), *([f"round {_round(node)}"] if _round(node) > 1 else [])])
    return trial


def _attacked(node: Node, trial: str) -> str:
    data = node.parent("data")
    return _what(data, trial) if data else ""


def _round(node: Node) -> int:
    """The round of an SP set or of a shake on one: how many shaken models stand above it, and itself."""
    above = node.parent("shake") or node.parent("train")
    return 1 if above is None else _round(above) + (node.kind == "sp")
