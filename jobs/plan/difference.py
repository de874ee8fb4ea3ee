"""Two plans side by side: what the second asks for that the first does not, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.plan.demand import KINDS
from jobs.plan.graph import Node
from jobs.plan.plan import Plan


@dataclass(frozen=True)
class Changed:
    """A setting whose values differ; one that a grid leaves to its default has none there."""

    added: tuple[Any, ...]
    removed: tuple[Any, ...]


@dataclass(frozen=True)
class Difference:
    """What plan B has against plan A.

    Attributes:
        settings: axis or fixed setting -> its values that are in B alone and in A alone; settings with equal values are left out.
        trials: (added, removed, shared).
        added, removed: distinct stages that only B, and only A, asks for.
        shared: kind -> how many distinct stages both ask for.
    """

    settings: dict[str, Changed]
    trials: tuple[int, int, int]
    added: list[Node]
    removed: list[Node]
    shared: dict[str, int]

    def kinds(self) -> list[str]:
        """The kinds of stages in either plan, in the order of the data's way."""
        found = {node.kind for node in (*self.added, *self.removed)} | set(self.shared)
        return [kind for kind in KINDS if kind in found]


def difference(a: Plan, b: Plan) -> Difference:
    """What B asks for against A: by keys, so that what means the same counts as the same whatever the files look like."""
    trials_a, trials_b = ({trial.key for trial in plan.trials} for plan in (a, b))
    nodes_a, nodes_b = ({node.key: node for node in plan.nodes()} for plan in (a, b))
    shared: dict[str, int] = {}
    for key in nodes_a.keys() & nodes_b.keys():
        shared[nodes_a[key].kind] = shared.get(nodes_a[key].kind, 0) + 1
    return Difference(
        settings=_settings(a, b),
        trials=(len(trials_b - trials_a), len(trials_a - trials_b), len(trials_a & trials_b)),
        added=[node for key, node in nodes_b.items() if key not in nodes_a],
        removed=[node for key, node in nodes_a.items() if key not in nodes_b],
        shared=shared,
    )


def _settings(a: Plan, b: Plan) -> dict[str, Changed]:
    before, after = _values(a), _values(b)
    found = {}
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name, []), after.get(name, [])
        changed = Changed(tuple(value for value in new if value not in old), tuple(value for value in old if value not in new))
        if changed.added or changed.removed:
            found[name] = changed
    return found


def _values(plan: Plan) -> dict[str, list[Any]]:
    """Every setting's values, whether it is an axis or fixed."""
    fixed: Mapping[str, Any] = plan.document.get("fixed") or {}
    return {name: [_number(value)] for name, value in fixed.items()} | {name: list(values) for name, values in plan.axes.items()}


def _number(value: Any) -> Any:
    """YAML reads 1e-4 as a text; an axis of the same values has numbers."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
