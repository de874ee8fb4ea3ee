"""What a point's model gives back: candidates drawn before and after the shake, matched in one way."""

from __future__ import annotations

from typing import Any

from jobs.grid.model import POSITION, columns
from jobs.grid.points import Row
from jobs.grid.read_extraction import Extracted
from jobs.plan.graph import Graph, Node
from jobs.plan.inputs import BaseModel, DomainStages, FoundInputs
from jobs.plan.sets import SetBuilder
from jobs.plan.shake import Shaken
from jobs.stages.specs import ExtractStage

_DOMAIN = columns("data", "domain")
_EXTRACTION = columns("extraction", "extract_seed")


class ExtractionBuilder:
    """Adds the extraction stages of points to a graph."""

    def __init__(self, graph: Graph, found: FoundInputs, sets: SetBuilder) -> None:
        self._graph, self._found, self._sets = graph, found, sets
        self._before: dict[tuple[Any, ...], tuple[ExtractStage, list[tuple[str, Node]], Node]] = {}

    def of(self, row: Row, base: BaseModel, shaken: Shaken | None) -> Node | None:
        """What the point's model gives back of its own domain; None where the grid does not ask.

        After a shake it has the un-shaken model's as its parent: the same prompts and noise, at the same budget.
        """
        if row[POSITION["extraction"]].value is None:
            return None
        key = (_DOMAIN(row), base.node.key, self._sets.meaning(row), row[POSITION["model"]], _EXTRACTION(row))
        if key not in self._before:
            self._before[key] = self._unshaken(row, base)
        spec, beside, before = self._before[key]
        if shaken is None:
            return before
        name = shaken.how.token or self._own(row).found.name
        drawn = self._sets.candidates(row, base, name, spec.extraction.candidates, shaken.node)
        return self._graph.add(spec, [("drawn", drawn), *beside, ("before", before)])

    def _unshaken(self, row: Row, base: BaseModel) -> tuple[ExtractStage, list[tuple[str, Node]], Node]:
        """The stage's spec, the parents that before and after have in common, and the stage of the un-shaken model."""
        asked = row[POSITION["extraction"]]
        wanted: Extracted = asked.value
        own = self._own(row)
        beside = [("data", own.data)]
        if wanted.network is not None:
            beside.append(("features", self._found.network("extraction", wanted.network, "clip", asked)))
        spec = ExtractStage(extraction=wanted.spec)
        drawn = self._sets.candidates(row, base, own.found.name, wanted.spec.candidates)
        return spec, beside, self._graph.add(spec, [("drawn", drawn), *beside])

    def _own(self, row: Row) -> DomainStages:
        return self._found.domain(*_DOMAIN(row))
