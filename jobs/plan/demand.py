"""What a plan still needs: a missing stage runs only if something that is missing needs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from typing import Any, Protocol, get_args

from jobs.plan.graph import Node
from jobs.plan.plan import Plan
from jobs.stages.specs import AnyStage

_UNION: Any = get_args(AnyStage)[0]
KINDS: tuple[str, ...] = tuple(str(stage.model_fields["kind"].default) for stage in get_args(_UNION))
"""All kinds of stages, in the order of the data's way."""


class Committed(Protocol):
    """The part of a ledger that planning asks."""

    def committed(self, kind: str) -> AbstractSet[str]:
        """The keys of the committed stages of a kind."""
        ...


def missing_nodes(plan: Plan, ledger: Committed) -> set[Node]:
    """The stages to run: leaves that are not committed, and what is not committed on the way to them."""
    return set(_reached(plan.leaves(), ledger).values())


def count(plan: Plan, ledger: Committed) -> dict[str, dict[str, int]]:
    """kind -> how many stages are distinct, done, and to run; the shape that `plan --json` prints."""
    asked = AskedOnce(ledger)
    distinct: dict[str, set[str]] = {}
    for node in _reached(plan.leaves(), _Empty()).values():
        distinct.setdefault(node.kind, set()).add(node.key)
    to_run = Counter(node.kind for node in _reached(plan.leaves(), asked).values())
    return {
        kind: {"distinct": len(distinct[kind]), "done": len(distinct[kind] & asked.committed(kind)), "to_run": to_run[kind]}
        for kind in KINDS
        if kind in distinct
    }


def _reached(leaves: list[Node], ledger: Committed) -> dict[str, Node]:
    """Key -> node of all that is met from the leaves downwards, turning back at what is committed."""
    done: dict[str, AbstractSet[str]] = {}
    found: dict[str, Node] = {}
    while leaves:
        node = leaves.pop()
        if node.kind not in done:
            done[node.kind] = ledger.committed(node.kind)
        if node.key not in found and node.key not in done[node.kind]:
            found[node.key] = node
            leaves.extend([parent for _, parent in node.parents if parent.key not in found])
    return found


class _Empty:
    """A ledger of nothing: from the leaves everything is met."""

    def committed(self, kind: str) -> AbstractSet[str]:
        return frozenset()


class AskedOnce:
    """A ledger as it is now: asked once per kind, however often the answer is needed."""

    def __init__(self, ledger: Committed) -> None:
        self._ledger = ledger
        self._answers: dict[str, AbstractSet[str]] = {}

    def committed(self, kind: str) -> AbstractSet[str]:
        if kind not in self._answers:
            self._answers[kind] = self._ledger.committed(kind)
        return self._answers[kind]
