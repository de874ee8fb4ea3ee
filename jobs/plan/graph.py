"""The graph of stages: equal stages of different trials are one node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring
from typing import Any

from jobs.keys import canonical_json, sha256_text, stage_frame
from jobs.stages.specs import StageSpec
from s2l_core.specs.base import Spec


class Node:
    """A stage with its parents, never changed after it is made. Equality is the key's.

    Attributes:
        spec: the stage's own part of its meaning.
        parents: (role, node) pairs in order.
        key: sha256 of the meaning.
        kind: the spec's kind.
    """

    __slots__ = ("key", "kind", "parents", "spec")

    def __init__(self, spec: StageSpec, parents: tuple[tuple[str, Node], ...], key: str) -> None:
        self.spec, self.parents, self.key = spec, parents, key
        self.kind = kind_of(spec)

    @property
    def id(self) -> tuple[str, str]:
        return self.kind, self.key

    def parent(self, role: str) -> Node | None:
        """The only parent in that role, or None."""
        return next((node for name, node in self.parents if name == role), None)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and other.key == self.key

    def __repr__(self) -> str:
        return f"Node({self.kind} {self.key[:12]})"


def kind_of(spec: StageSpec) -> str:
    return str(spec.kind)  # type: ignore[attr-defined]


class Graph:
    """Builds nodes; asking twice for the same meaning gives the same node."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._text = SpecText()
        self._frames: dict[int, tuple[StageSpec, str, str]] = {}

    def add(self, spec: StageSpec, parents: Iterable[tuple[str, Node]] = ()) -> Node:
        parents = tuple(parents)
        known = self._frames.get(id(spec))
        if known is None:
            known = self._frames[id(spec)] = (spec, *stage_frame(kind_of(spec), spec.schema_version, self._text.of(spec)))
        key = sha256_text(known[1] + ",".join([f'["{role}","{node.key}"]' for role, node in parents]) + known[2])
        node = self.nodes.get(key)
        if node is None:
            node = self.nodes[key] = Node(spec, parents, key)
        return node


class SpecText:
    """The canonical JSON of specs, with each part written once however many specs share it.

    Equal to `canonical_json(spec.model_dump(mode="json"))`, ten times faster for specs that differ in a seed.
    """

    def __init__(self) -> None:
        self._parts: dict[int, tuple[Spec, str]] = {}
        self._fields: dict[type[Spec], list[tuple[str, str]]] = {}

    def of(self, value: Any) -> str:
        if isinstance(value, Spec):
            known = self._parts.get(id(value))
            if known is None:
                known = self._parts[id(value)] = (value, self._spec(value))
            return known[1]
        if isinstance(value, tuple):
            return "[" + ",".join([self.of(one) for one in value]) + "]"
        if type(value) is int:
            return str(value)
        return encode_basestring(value) if type(value) is str else canonical_json(value)

    def _spec(self, spec: Spec) -> str:
        fields = self._fields.get(type(spec))
        if fields is None:
            fields = self._fields[type(spec)] = [(name, f'"{name}":') for name in sorted(type(spec).model_fields)]
        return "{" + ",".join([start + self.of(getattr(spec, name)) for name, start in fields]) + "}"


def ancestors(nodes: Iterable[Node]) -> Iterator[Node]:
    """The nodes and all they hang on, parents before children, each once."""
    seen: set[str] = set()
    for leaf in nodes:
        path = [leaf]
        while path:
            node = path[-1]
            if node.key in seen:
                path.pop()
                continue
            waiting = [parent for _, parent in node.parents if parent.key not in seen]
            if waiting:
                path.extend(reversed(waiting))
                continue
            path.pop()
            seen.add(node.key)
            yield node
