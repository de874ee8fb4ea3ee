"""A unit as a JSON value: what travels to a worker. Readable in Tune's files, free of secrets, no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from jobs.execute.units import Unit
from jobs.plan.graph import Node
from jobs.stages.specs import AnyStage, StageSpec

_ANY_STAGE: TypeAdapter[StageSpec] = TypeAdapter(AnyStage)


class OrderedStage(BaseModel):
    """One stage with references to its parents as (role, kind, key)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str
    spec: dict[str, Any]
    parents: tuple[tuple[str, str, str], ...]


class WorkOrder(BaseModel):
    """A unit's stages, parents before children.

    Attributes:
        inputs: content hash -> local folder, for stages that read the user's own.
        halved: key of a stage -> how often its pieces of a batch are halved, because it took its workers down.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    unit: str
    stages: tuple[OrderedStage, ...]
    inputs: dict[str, str] = {}
    halved: dict[str, int] = {}

    @classmethod
    def of(cls, unit: Unit, inputs: dict[str, str], halved: Mapping[str, int] | None = None) -> WorkOrder:
        stages = tuple(
            OrderedStage(
                key=node.key,
                spec=node.spec.model_dump(mode="json"),
                parents=tuple((role, parent.kind, parent.key) for role, parent in node.parents),
            )
            for node in unit.nodes
        )
        inside = {key: times for key, times in (halved or {}).items() if key in unit.keys}
        return cls(unit=unit.id, stages=stages, inputs=inputs if unit.here else {}, halved=inside)


def parse_spec(spec: dict[str, Any]) -> StageSpec:
    """The typed spec of a JSON value."""
    return _ANY_STAGE.validate_python(spec)


def node_of(stage: OrderedStage, parents: dict[str, Node]) -> Node:
    """The node an ordered stage stands for, given its parents' nodes by key."""
    return Node(parse_spec(stage.spec), tuple((role, parents[key]) for role, _, key in stage.parents), stage.key)
