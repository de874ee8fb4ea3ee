"""What the points of a grid name as data, domain and model: each found once, as stages and as facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jobs.errors import GridError, InputError
from jobs.grid.inputs import DomainData, Inputs
from jobs.grid.model import Grid
from jobs.grid.shapes import ModelFolder
from jobs.plan.graph import Graph, Node
from jobs.stages.specs import BlindStage, DataStage, DrawnFaces, Family

T = TypeVar("T")

JUDGE_SEED, JUDGE_IMAGES = 101, 128
"""Drawn faces that a judge of identities learns from are other drawings than members and non-members (docs/results/tiny-model.md)."""


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
        self._networks: dict[tuple[str, str], Node] = {}
        self._judged: dict[str, list[Node]] = {}
        self._public: dict[tuple[str, str], Node] = {}

    def domain(self, data: str, domain: str, field: str = "domain", value: Any = None) -> DomainStages:
        """A domain's stages.

        Args:
            field, value: the setting that names the domain, for messages; the value is the domain itself when absent.
        """
        if (data, domain) not in self._domains:
            self._of(data)
            found = self._placed(field, domain if value is None else value, lambda: self._inputs.domain(data, domain))
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

    def network(self, field: str, model: str, family: Family, value: Any = None) -> Node:
        """What has weights and is no base model, as a stage.

        Args:
            field, value: the setting that asks for it, for messages; the value is the model itself when absent.
        """
        if (model, family) not in self._networks:
            found = self._placed(field, True if value is None else value, lambda: self._inputs.network(model, family))
            self.folders |= found.folder
            self._networks[model, family] = self._graph.add(found.stage)
        return self._networks[model, family]

    def public(self, public: str, data: str) -> Node:
        """Public images, as a stage.

        Raises:
            GridError: they are not there, or some of them are the data set's.
        """
        if (public, data) not in self._public:
            where = self._grid.place_of("public", public)
            if Path(public).expanduser().resolve() == Path(data).expanduser().resolve():
                raise GridError(f"{where}: {public} is the data set itself, whose images are members and non-members; give others")
            found = self._placed("public", public, lambda: self._inputs.public(public))
            shared = sum(len(found.files & self._inputs.domain(data, domain).files) for domain in self._of(data)) if found.files else 0
            if shared:
                raise GridError(f"{where}: {shared} of the images of {public} are in the data set {data} too; give images of others")
            self.folders |= found.folder
            self._public[public, data] = self._graph.add(found.stage)
        return self._public[public, data]

    def judged(self, data: str) -> list[Node]:
        """The images from which a judge learns to tell the data set's domains apart; none where there is one domain only."""
        if data not in self._judged:
            domains = self._of(data)
            self._judged[data] = [self._graph.add(self._to_judge(data, domain)) for domain in domains] if len(domains) > 1 else []
        return self._judged[data]

    def _to_judge(self, data: str, domain: str) -> DataStage:
        found = self._placed("data", data, lambda: self._inputs.domain(data, domain))
        self.folders |= found.folder
        source = found.stage.source
        if not isinstance(source, DrawnFaces):
            return found.stage
        return DataStage(source=DrawnFaces(identity=source.identity, seed=JUDGE_SEED, members=1, non_members=JUDGE_IMAGES))

    def _of(self, data: str) -> list[str]:
        if data not in self._known:
            self._known[data] = sorted(self._placed("data", data, lambda: self._inputs.domains(data)))
        return self._known[data]

    def _placed(self, name: str, value: Any, look_up: Callable[[], T]) -> T:
        """What is looked up; when it is not there, the error says where the grid asks for it."""
        try:
            return look_up()
        except InputError as error:
            raise GridError(f"{self._grid.place_of(name, value)}: {error}") from None
