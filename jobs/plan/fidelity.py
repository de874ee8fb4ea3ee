"""How well a point's model still draws its domain: what is drawn before and after the shake, measured in one way."""

from __future__ import annotations

from typing import Any

from jobs.grid.model import POSITION, columns
from jobs.grid.points import Row
from jobs.grid.read_fidelity import Measured
from jobs.plan.graph import Graph, Node
from jobs.plan.inputs import BaseModel, FoundInputs
from jobs.plan.sets import SetBuilder
from jobs.plan.shake import Shaken
from jobs.stages.specs import FidelityStage
from s2l_core.specs.fidelity import FidelitySpec

_DOMAIN = columns("data", "domain")
_FIDELITY = columns("fidelity", "bootstrap")


class FidelityBuilder:
    """Adds the fidelity stages of points to a graph."""

    def __init__(self, graph: Graph, found: FoundInputs, sets: SetBuilder) -> None:
        self._graph, self._found, self._sets = graph, found, sets
        self._before: dict[tuple[Any, ...], tuple[FidelityStage, list[tuple[str, Node]], Node]] = {}

    def of(self, row: Row, base: BaseModel, shaken: Shaken | None) -> Node | None:
        """The measure of what the point's model draws for its own domain; None where the grid asks for none.

        After a shake it has the un-shaken model's as its parent: the same prompts and noise, and so a change image by image. What the
        model was trained on does not matter: a shake on another domain's images is asked for its own domain too.
        """
        if row[POSITION["fidelity"]].value is None:
            return None
        key = (_DOMAIN(row), base.node.key, self._sets.meaning(row), row[POSITION["model"]], _FIDELITY(row))
        if key not in self._before:
            self._before[key] = self._unshaken(row, base)
        spec, beside, before = self._before[key]
        if shaken is None:
            return before
        drawn, _ = self._sets.drawn(row, base, shaken.how.token or self._own(row).found.name, shaken.node)
        return self._graph.add(spec, [("drawn", drawn), *beside, ("before", before)])

    def _unshaken(self, row: Row, base: BaseModel) -> tuple[FidelityStage, list[tuple[str, Node]], Node]:
        """The stage's spec, the parents that before and after have in common, and the stage of the un-shaken model."""
        fidelity, bootstrap = _FIDELITY(row)
        measured: Measured = fidelity.value
        own = self._own(row)
        beside = [("data", own.data), *(("others", node) for node in self._found.judged(row[POSITION["data"]]))]
        if measured.network is not None:
            beside.append(("features", self._found.network("fidelity", measured.network, "clip", fidelity)))
        spec = FidelityStage(fidelity=FidelitySpec(features=measured.features, bootstrap=bootstrap))
        drawn, _ = self._sets.drawn(row, base, own.found.name)
        return spec, beside, self._graph.add(spec, [("drawn", drawn), *beside])

    def _own(self, row: Row) -> Any:
        return self._found.domain(*_DOMAIN(row))
