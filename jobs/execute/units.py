"""Units of work: what one Tune trial runs.

Two kinds (docs/decisions/0002): a *prepare* unit makes a shared stage; a *cell* is one shake and everything that hangs on it alone, so that
the weights stay on the device between fine-tuning and attack. Each stage of a unit commits on its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from jobs.plan.graph import Node


@dataclass(frozen=True)
class Unit:
    """Stages that run one after the other on one worker.

    Attributes:
        id: names the unit in Tune and in messages.
        nodes: stages, parents before children.
        needs: keys of stages outside the unit that must be committed before it starts.
        here: must run in the driver's process, because it reads a folder that only the driver is sure to see.
    """

    id: str
    kind: Literal["prepare", "cell"]
    nodes: tuple[Node, ...]
    needs: frozenset[str]
    here: bool = False

    @property
    def keys(self) -> list[str]:
        return [node.key for node in self.nodes]


class _Shakes:
    """The nearest shakes above a node: none (shared), one (that shake's cell) or several (a stage over cells)."""

    def __init__(self) -> None:
        self._above: dict[str, frozenset[str]] = {}

    def above(self, node: Node) -> frozenset[str]:
        found = self._above.get(node.key)
        if found is None:
            if node.kind == "shake":
                found = frozenset([node.key])
            else:
                found = frozenset().union(*(self.above(parent) for _, parent in node.parents))
            self._above[node.key] = found
        return found


def make_units(missing: Iterable[Node]) -> list[Unit]:
    """Group missing stages into units, in an order in which neighbours share a base model.

    Args:
        missing: the stages to run, parents before children.
    """
    shakes = _Shakes()
    groups: dict[str, list[Node]] = {}
    for node in missing:
        groups.setdefault(_group(node, shakes.above(node)), []).append(node)
    units = [_unit(name, nodes) for name, nodes in groups.items()]
    return sorted(units, key=lambda unit: unit.kind == "cell")  # stable: what others wait for goes first


def _group(node: Node, shakes: frozenset[str]) -> str:
    if len(shakes) == 1:
        return f"cell-{next(iter(shakes))}"
    if len(shakes) > 1:
        return f"{node.kind}-{node.key}"
    if node.kind == "score":  # scores of one (model, data) share network calls
        return "score-" + "-".join(parent.key[:32] for _, parent in node.parents)
    if node.kind == "blind":
        return _group(node.parents[0][1], shakes)
    if node.kind == "metrics":
        return _group(node.parents[-1][1], shakes)
    return f"{node.kind}-{node.key}"


def _unit(name: str, nodes: list[Node]) -> Unit:
    inside = {node.key for node in nodes}
    needs = frozenset(parent.key for node in nodes for _, parent in node.parents if parent.key not in inside)
    here = any(node.kind in ("data", "base") and _reads_a_folder(node) for node in nodes)
    return Unit(id=name, kind="cell" if name.startswith("cell-") else "prepare", nodes=tuple(nodes), needs=needs, here=here)


def _reads_a_folder(node: Node) -> bool:
    source = getattr(node.spec, "source", None)
    return getattr(source, "source", None) in ("folder", "public-folder")
