"""YAML with line numbers, and without its traps: no tags, no duplicate keys, no alias bombs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from jobs.errors import GridError
from jobs.grid.messages import show

MAX_BYTES = 2_000_000
MAX_NODES = 200_000
MAX_DEPTH = 20
MAX_BITS = 128
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}
_AS_TEXT = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class Document:
    """A JSON-like value read from YAML, and for each path in it the line (from 1) or the `--set` option it came from."""

    value: Any
    lines: dict[tuple[str | int, ...], int | str] = field(default_factory=dict)


def read_yaml(text: str, source: str) -> Document:
    """Read one YAML document made of mappings, lists and plain scalars.

    Raises:
        GridError: naming the file and line, for bad YAML, tags such as `!!python/...`, keys given twice,
            or aliases that expand without measure.
    """
    if len(text) > MAX_BYTES:
        raise GridError(f"{source}: the file has {len(text):,} characters; a grid file has at most {MAX_BYTES:,}")
    try:
        _check_depth(text, source)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise GridError(f"{source}:{line}: this is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise GridError(f"{source}: this is not YAML: {str(error).splitlines()[0]}") from None
    builder = _Builder(source)
    return Document(builder.build(node, ()) if node is not None else None, builder.lines)


def _check_depth(text: str, source: str) -> None:
    """Composing goes as deep as the text does, in compiled code, which has no bottom to hit but the end of its stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise GridError(f"{source}:{line}: lists and mappings are nested deeper than {MAX_DEPTH} levels")


class _Builder:
    """Turns YAML nodes into plain values, counting each alias as often as it is used."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[tuple[str | int, ...], int | str] = {}
        self.count = 0
        self.scalars = SafeConstructor()

    def build(self, node: Node, path: tuple[str | int, ...]) -> Any:
        self.count += 1
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if self.count > MAX_NODES or len(path) > MAX_DEPTH:
            raise GridError(f"{self.source}:{line}: the aliases of this file expand too far; write the values out")
        if isinstance(node, MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.build(child, (*path, number)) for number, child in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, line)
        raise self._bad_tag(node, line)

    def _mapping(self, node: MappingNode, path: tuple[str | int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise GridError(f"{self.source}:{line}: merge keys (<<) are not part of grid files; write the values out")
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str) or not key:
                raise GridError(f"{self.source}:{line}: a key must be a word")
            if key in result:
                raise GridError(f"{self.source}:{line}: the key {show(key)} is given twice; first in line {self.lines[(*path, key)]}")
            self.lines[(*path, key)] = line
            result[key] = self.build(value_node, (*path, key))
        return result

    def _scalar(self, node: ScalarNode, line: int) -> Any:
        if node.tag in _AS_TEXT:
            return node.value
        if node.tag not in _PLAIN:
            raise self._bad_tag(node, line)
        try:
            value = self.scalars.construct_object(node)
        except (ValueError, OverflowError):
            return node.value
        return node.value if isinstance(value, int) and value.bit_length() > MAX_BITS else value  # what nobody could print

    def _bad_tag(self, node: Node, line: int) -> GridError:
        tag = str(node.tag).replace("tag:yaml.org,2002:", "!!")
        return GridError(f"{self.source}:{line}: the YAML tag {tag} is refused; grid files hold plain values, lists and mappings only")
