"""What a grid's `data` and `model` stood for, written down: so that it can be planned again where their folders are not.

A file's hash is not written down: whether images overlap was checked where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from jobs.errors import InputError
from jobs.grid.inputs import DomainData, Inputs, LocalInputs, ModelData
from jobs.stages.specs import BaseStage, DataStage, Family

T = TypeVar("T")
_SEPARATOR = "\n"


class RecordedDomain(BaseModel):
    """What `DomainData` says, but for folder and files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: DataStage
    name: str
    members: int
    unnamed: str | None = None

    @classmethod
    def of(cls, found: DomainData) -> RecordedDomain:
        return cls(stage=found.stage, name=found.name, members=found.members, unnamed=found.unnamed)

    def data(self) -> DomainData:
        return DomainData(self.stage, self.name, self.members, unnamed=self.unnamed)


class InputsRecord(BaseModel):
    """Answers by question; a question's parts are joined by line ends."""

    model_config = ConfigDict(extra="forbid")

    domains: dict[str, list[str]] = {}
    domain: dict[str, RecordedDomain] = {}
    public: dict[str, RecordedDomain] = {}
    model: dict[str, BaseStage] = {}
    network: dict[str, BaseStage] = {}


class RecordingInputs:
    """Answers as another does, and writes the answers down in `record`."""

    def __init__(self, inner: Inputs | None = None) -> None:
        self._inner = inner or LocalInputs()
        self.record = InputsRecord()

    def domains(self, data: str) -> list[str]:
        found = self._inner.domains(data)
        self.record.domains[data] = list(found)
        return found

    def domain(self, data: str, domain: str) -> DomainData:
        found = self._inner.domain(data, domain)
        self.record.domain[_SEPARATOR.join((data, domain))] = RecordedDomain.of(found)
        return found

    def public(self, public: str) -> DomainData:
        found = self._inner.public(public)
        self.record.public[public] = RecordedDomain.of(found)
        return found

    def model(self, model: str) -> ModelData:
        found = self._inner.model(model)
        self.record.model[model] = found.stage
        return found

    def network(self, model: str, family: Family) -> ModelData:
        found = self._inner.network(model, family)
        self.record.network[_SEPARATOR.join((model, str(family)))] = found.stage
        return found


class RecordedInputs:
    """Answers from a record alone.

    Raises:
        jobs.errors.InputError: a question that was not asked when the record was made.
    """

    def __init__(self, record: InputsRecord) -> None:
        self._record = record

    def domains(self, data: str) -> list[str]:
        return list(_answer(self._record.domains, data))

    def domain(self, data: str, domain: str) -> DomainData:
        return _answer(self._record.domain, data, domain).data()

    def public(self, public: str) -> DomainData:
        return _answer(self._record.public, public).data()

    def model(self, model: str) -> ModelData:
        return ModelData(_answer(self._record.model, model))

    def network(self, model: str, family: Family) -> ModelData:
        return ModelData(_answer(self._record.network, model, str(family)))


def _answer(answers: Mapping[str, T], *question: str) -> T:
    found = answers.get(_SEPARATOR.join(question))
    if found is None:
        raise InputError(
            f"{' of '.join(reversed(question))} was not looked up when this run was submitted: another version of s2l? Submit again"
        )
    return found
