"""Nodes that a run stops using: those on which one unit after the other is lost, and nothing gets done in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from jobs.placement.shapes import NodeSize

NODE_LABEL = "ray.io/node-id"
"""The label that Ray gives every node: its name."""


@dataclass(frozen=True)
class Node:
    """A node that lives and has CPUs to give."""

    host: str
    size: NodeSize


class Avoided:
    """Counts, for each node, the different units that were lost there since a unit got something done there.

    One unit that takes its workers down is not the node's fault, however often. Nor are units that are lost on many nodes: when more than
    half of the nodes would be avoided, none is, for the rest of the run.

    Args:
        limit: so many units make a node one that is avoided.
        nodes: what there is now, by Ray's name.
        say: told of each decision, in words.
    """

    def __init__(self, limit: int, nodes: Callable[[], Mapping[str, Node]], say: Callable[[str], None]) -> None:
        self._limit, self._nodes, self._say = limit, nodes, say
        self._lost: dict[str, set[str]] = {}
        self._avoided: dict[str, str] = {}
        self._over = False
        self._has_room: Callable[[Iterable[NodeSize]], bool] = lambda sizes: True

    def fits(self, has_room: Callable[[Iterable[NodeSize]], bool]) -> None:
        """Say how to tell whether the largest unit finds room on nodes of these sizes."""
        self._has_room = has_room

    @property
    def names(self) -> tuple[str, ...]:
        """Ray's names of the nodes that are avoided."""
        return tuple(self._avoided)

    @property
    def told(self) -> tuple[str, ...]:
        """A sentence for each."""
        return tuple(self._avoided.values())

    def worked(self, node: str) -> None:
        """Note that a unit got something done there."""
        self._lost.pop(node, None)

    def lost(self, node: str, unit: str, why: str) -> None:
        """Note that a unit was lost there.

        Args:
            why: the last that was heard of it.
        """
        if self._over or not node or node in self._avoided:
            return
        self._lost.setdefault(node, set()).add(unit)
        if len(self._lost[node]) >= self._limit:
            self._avoid(node, why)

    def stranded(self) -> bool:
        """Whether what is left of the cluster has no room but on nodes that are avoided; then they are used again."""
        if not self._avoided or self._has_room(self._left(self._nodes()).values()):
            return False
        self._give_up("no other node that has room is left, so that the nodes which this run avoided are used again")
        return True

    def _avoid(self, node: str, why: str) -> None:
        nodes = self._nodes()
        if node not in nodes or len(nodes) == 1:
            return
        words = f"{nodes[node].host} ({node[:8]}): {self._limit} units in a row were lost there, and none got anything done"
        words += f"; the last that was seen: {why!r}" if why else ""
        left = self._left(nodes, node)
        if 2 * len(left) < len(nodes):
            self._give_up(
                f"units are lost one after the other on {len(nodes) - len(left)} of {len(nodes)} nodes: no node is avoided for that"
            )
        elif not self._has_room(left.values()):
            self._give_up(f"no other node has room, so that this one is not avoided: {words}")
        else:
            self._avoided[node] = words
            self._say(f"from now on this run avoids node {words}")

    def _left(self, nodes: Mapping[str, Node], *but: str) -> dict[str, NodeSize]:
        return {name: node.size for name, node in nodes.items() if name not in self._avoided and name not in but}

    def _give_up(self, words: str) -> None:
        self._over, self._avoided = True, {}
        self._say(words)


def nodes_of_ray() -> dict[str, Node]:
    """The nodes that live and have CPUs to give, by Ray's name."""
    import ray

    alive = ((node["NodeID"], node["NodeManagerHostname"], node["Resources"]) for node in ray.nodes() if node["Alive"])
    return {name: Node(host, (float(found["CPU"]), float(found.get("GPU", 0)))) for name, host, found in alive if found.get("CPU")}


def not_on(nodes: Iterable[str], bundles: int) -> list[dict[str, str]]:
    """For each bundle of a placement group, the label that keeps it off these nodes; nothing where there are none."""
    names = ",".join(sorted(nodes))
    return [{NODE_LABEL: f"!in({names})"}] * bundles if names else []
