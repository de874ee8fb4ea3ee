"""What the points of a grid name as data, domain and model: each found once, as stages and as facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from jobs.errors import GridError, InputError
from jobs.graph import Graph, Node
from jobs.grid.inputs import DomainData, Inputs
from jobs.grid.model import Grid
from jobs.grid.shapes import ModelFolder
from jobs.stages.specs import BlindStage

T = TypeVar("T")


class DomainStages(NamedTuple):
    """A domain's images, as a stage and as facts."""

    found: DomainData
    data: Node
    blind: Node


class BaseModel(NamedTuple):
    """A pre-trained model, as a stage and, where it lies in a folder, as what its files tell."""

    node: Node
    folder: ModelFolder | None


class FoundInputs:
    """Looks inputs up; an error says where the grid asks for what is not there.

    Attributes:
        folders: where stages read from, by content hash, for what is the user's own.
    """

    def __init__(self, grid: Grid, inputs: Inputs, graph: Graph) -> None:
        self._grid, self._inputs, self._graph = grid, inputs, graph
        self.folders: dict[str, Path] = {}
        self._known: dict[str, list[str]] = {}
        self._domains: dict[tuple[str, str], DomainStages] = {}
        self._models: dict[str, BaseModel] = {}

    def domain(self, data: str, domain: str, field: str = "domain") -> DomainStages:
        """A domain's stages.

        Args:
            field: the setting that names the domain, for messages.
        """
        if (data, domain) not in self._domains:
            self._of(data)
            found = self._placed(field, domain, lambda: self._inputs.domain(data, domain))
            self.folders |= found.folder
            node = self._graph.add(found.stage)
            self._domains[data, domain] = DomainStages(found, node, self._graph.add(BlindStage(), (("data", node),)))
        return self._domains[data, domain]

    def unrelated(self, data: str, domain: str) -> str:
        """The next domain of the data set, not of the grid: adding a domain to a grid re-keys nothing."""
        domains = self._of(data)
        if len(domains) < 2:
            where = self._grid.place_of("train_on", "unrelated")
            raise GridError(f"{where}: the data set {data} has one domain only, so that no SP set is unrelated; leave it out")
        return domains[(domains.index(domain) + 1) % len(domains)]

    def base(self, model: str) -> BaseModel:
        if model not in self._models:
            found = self._placed("model", model, lambda: self._inputs.model(model))
            self.folders |= found.folder
            self._models[model] = BaseModel(self._graph.add(found.stage), ModelFolder(found.weights) if found.weights else None)
        return self._models[model]

    def _of(self, data: str) -> list[str]:
        if data not in self._known:
            self._known[data] = sorted(self._placed("data", data, lambda: self._inputs.domains(data)))
        return self._known[data]

    def _placed(self, name: str, value: str, look_up: Callable[[], T]) -> T:
        """What is looked up; when it is not there, the error says where the grid asks for it."""
        try:
            return look_up()
        except InputError as error:
            raise GridError(f"{self._grid.place_of(name, value)}: {error}") from None
