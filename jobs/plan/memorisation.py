"""How strongly a point's model knows its domain's name: the same prompts before and after the shake."""

from __future__ import annotations

from jobs.errors import GridError
from jobs.grid.messages import show
from jobs.grid.model import POSITION, Grid, columns
from jobs.grid.points import Row
from jobs.plan.graph import Graph, Node
from jobs.plan.inputs import BaseModel, FoundInputs
from jobs.plan.shake import Shaken
from jobs.stages.specs import MemorisationStage
from s2l_core.specs.memorisation import MemorisationSpec

_ASKED = columns("data", "domain", "memorisation", "model")
_MEMORISATION = POSITION["memorisation"]


class MemorisationBuilder:
    """Adds the memorisation stages of points to a graph."""

    def __init__(self, grid: Grid, graph: Graph, found: FoundInputs) -> None:
        self._grid, self._graph, self._found = grid, graph, found
        self._before: dict[object, tuple[MemorisationStage, Node]] = {}

    def of(self, row: Row, base: BaseModel, shaken: Shaken | None) -> Node | None:
        """What the point's model makes of its own domain's name; None where the grid does not ask.

        After a shake it has the un-shaken model's as its parent. A token that was learned takes the name's place, as it does in attacks;
        the invented names beside it stay the same ones.
        """
        if row[_MEMORISATION].value is None:
            return None
        key = (base.node.key, _ASKED(row))
        if key not in self._before:
            self._before[key] = self._unshaken(row, base)
        stage, before = self._before[key]
        if shaken is None:
            return before
        stage = stage.model_copy(update={"name": shaken.how.token or stage.name})
        return self._graph.add(stage, [("base", base.node), ("shake", shaken.node), ("before", before)])

    def _unshaken(self, row: Row, base: BaseModel) -> tuple[MemorisationStage, Node]:
        data, domain, asked, _ = _ASKED(row)
        name = self._found.domain(data, domain).found.name
        spec: MemorisationSpec = asked.value.beside(name)
        self._check(row, spec, name, base)
        stage = MemorisationStage(memorisation=spec, name=name)
        return stage, self._graph.add(stage, [("base", base.node)])

    def _check(self, row: Row, spec: MemorisationSpec, name: str, base: BaseModel) -> None:
        where = self._grid.place_of("memorisation", row[_MEMORISATION])
        if any(control.casefold() == name.casefold() for control in spec.controls):
            told = f"controls hold {show(name)}, a domain of the grid"
            raise GridError(f"{where}: {told}; they are names that the model never saw: leave it out")
        count = base.folder.timesteps if base.folder else None
        if count is not None and spec.steps > count:
            told = f"steps is {spec.steps}, and the model {row[POSITION['model']]} has {count} timesteps"
            raise GridError(f"{where}: {told}; give at most as many")
