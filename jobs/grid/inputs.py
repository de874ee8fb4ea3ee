"""What a grid's `data` and `model` stand for: domains, contents, folders. Found once per value, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from jobs.grid import placeholders
from jobs.stages.specs import BaseStage, DataStage, DrawnFaces, DrawnStrangers, Family, PackagedModel
from s2l_core.faces import IDENTITIES
from s2l_core.tiny import catalog, content, packaged

DRAWN = "tiny-faces"
STRANGERS = "strangers"


@dataclass(frozen=True)
class DomainData:
    """One domain of a data set.

    Attributes:
        name: what prompts call it.
        members: how many member images there are; of public images, how many there are.
        folder: where the stage reads from, by content hash, when it is the user's own.
        unnamed: the first caption where not one caption holds the name; None where one does.
        files: sha256 of its images' files, when they are the user's own.
    """

    stage: DataStage
    name: str
    members: int
    folder: Mapping[str, Path] = field(default_factory=dict)
    unnamed: str | None = None
    files: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ModelData:
    """A pre-trained model.

    Attributes:
        folder: where the stage reads from, by content hash, when it is the user's own.
        weights: a diffusers folder whose headers tell shapes, where there is one.
    """

    stage: BaseStage
    folder: Mapping[str, Path] = field(default_factory=dict)
    weights: Path | None = None


class Inputs(Protocol):
    """Where data sets and models are looked up.

    Raises:
        jobs.errors.InputError: there is no such data set, domain or model; the message says what is allowed.
    """

    def domains(self, data: str) -> list[str]:
        """The data set's domains."""
        ...

    def domain(self, data: str, domain: str) -> DomainData: ...

    def public(self, public: str) -> DomainData:
        """Images of nobody concerned, which are neither members nor non-members."""
        ...

    def model(self, model: str) -> ModelData: ...

    def network(self, model: str, family: Family) -> ModelData:
        """What has weights and is no base model: the safety checker of a model, a CLIP, or a captioner."""
        ...


class LocalInputs:
    """The packaged data set and models, folders of the user's, pinned models of the hub, and stand-ins for what is to be given.

    What is packaged is answered here: `jobs.sources` reads images, and importing what that takes costs more than a plan.
    """

    def domains(self, data: str) -> list[str]:
        if data == DRAWN:
            return sorted(IDENTITIES)
        if placeholders.is_placeholder(data):
            return placeholders.domains(data)
        from jobs.sources import data_domains

        return data_domains(data)

    def domain(self, data: str, domain: str) -> DomainData:
        if data == DRAWN and domain in IDENTITIES:
            drawn = DrawnFaces(identity=domain)
            return DomainData(DataStage(source=drawn), domain, drawn.members)
        if placeholders.is_placeholder(data):
            given, members = placeholders.images(data, domain)
            return DomainData(DataStage(source=given), domain, members)
        from jobs.sources import image_folder, resolve_data
        from s2l_core.captions import holds_name

        source, folder = resolve_data(data, domain)
        found = image_folder(data).of_domain(domain)
        captions = [file.row.text for file in found]
        return DomainData(
            DataStage(source=source),
            domain,
            members=sum(file.row.member for file in found),
            folder=folder,
            unnamed=None if any(holds_name(caption, domain) for caption in captions) else captions[0],
            files=frozenset(file.sha256 for file in found),
        )

    def public(self, public: str) -> DomainData:
        if public == STRANGERS:
            drawn = DrawnStrangers()
            return DomainData(DataStage(source=drawn), "", drawn.images)
        if placeholders.is_placeholder(public):
            return DomainData(DataStage(source=placeholders.public_images(public)), "", 0)
        from jobs.sources import resolve_public

        source, found = resolve_public(public)
        files = frozenset(file.sha256 for file in found.files)
        return DomainData(DataStage(source=source), "", len(found.files), {source.content: found.folder}, files=files)

    def model(self, model: str) -> ModelData:
        if model in catalog():
            return ModelData(BaseStage(source=PackagedModel(name=model, content=content(model))), weights=packaged(model))
        if placeholders.is_placeholder(model):
            return ModelData(BaseStage(source=placeholders.model(model)))
        from jobs.sources import resolve_model

        source, folder = resolve_model(model)
        return ModelData(BaseStage(source=source), folder, next(iter(folder.values()), None))

    def network(self, model: str, family: Family) -> ModelData:
        if placeholders.is_placeholder(model):
            return ModelData(BaseStage(source=placeholders.model(model), family=family))
        from jobs.sources import resolve_model

        source, folder = resolve_model(model, family)
        return ModelData(BaseStage(source=source, family=family), folder)
