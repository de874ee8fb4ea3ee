"""Planning without files: data sets and models of stated contents, and a few questions to a plan."""

from __future__ import annotations

from pathlib import Path

from jobs.errors import InputError
from jobs.grid.inputs import DomainData, ModelData
from jobs.grid.read import parse_grid
from jobs.plan.expand import expand
from jobs.plan.graph import Node
from jobs.plan.plan import Plan, Trial
from jobs.stages.specs import (
    BaseStage,
    DataStage,
    Family,
    FolderImages,
    FolderModel,
    PackagedModel,
    PublicFolder,
    ScoreStage,
    ShakeStage,
    SpStage,
)


class StatedInputs:
    """Four domains of seven members, and any model, named by stated contents."""

    def domains(self, data: str) -> list[str]:
        return ["cy", "bo", "ada", "di"]

    def domain(self, data: str, domain: str) -> DomainData:
        if domain not in self.domains(data):
            raise InputError(f"no domain {domain}")
        return DomainData(DataStage(source=FolderImages(domain=domain, content="a" * 64)), domain.title(), members=7)

    def public(self, public: str) -> DomainData:
        if public == "nowhere":
            raise InputError("there is no folder of public images")
        return DomainData(DataStage(source=PublicFolder(content="d" * 64)), "", 9, {"d" * 64: Path(public)})

    def model(self, model: str) -> ModelData:
        return ModelData(BaseStage(source=PackagedModel(name=model, content="b" * 64)))

    def network(self, model: str, family: Family) -> ModelData:
        if model == "bare":
            raise InputError(f"the model {model} has no {family}")
        return ModelData(BaseStage(source=FolderModel(content="c" * 64), family=family), {"c" * 64: Path(model)})


def plan_of(text: str, *sets: str, profile: str | None = None) -> Plan:
    return expand(parse_grid("name: g\n" + text, "g.yaml", sets, profile), inputs=StatedInputs())


def trial_of(text: str, *sets: str) -> Trial:
    """The only trial of a grid."""
    (trial,) = plan_of(text, *sets).trials
    return trial


def by_method(plan: Plan, method: str) -> list[Trial]:
    return [trial for trial in plan.trials if trial.axes["method"] == method]


def distinct(plan: Plan, kind: str) -> int:
    return sum(node.kind == kind for node in plan.nodes())


def parent(node: Node | None, role: str) -> Node:
    """The parent that a test says is there."""
    found = node.parent(role) if node is not None else None
    assert found is not None, f"no {role}"
    return found


def shake_spec(trial: Trial) -> ShakeStage:
    assert trial.shake is not None
    assert isinstance(trial.shake.spec, ShakeStage)
    return trial.shake.spec


def sp_spec(node: Node) -> SpStage:
    assert isinstance(node.spec, SpStage)
    return node.spec


def after(trial: Trial, leaf: str) -> Node:
    return parent(trial.metrics[leaf], "after")


def before(trial: Trial, leaf: str) -> Node:
    return parent(trial.metrics[leaf], "before")


def score_spec(node: Node) -> ScoreStage:
    assert isinstance(node.spec, ScoreStage)
    return node.spec


def domain_of(score: Node) -> str:
    """The domain whose images are scored."""
    data = parent(score, "data").spec
    assert isinstance(data, DataStage)
    assert isinstance(data.source, FolderImages)
    return data.source.domain
