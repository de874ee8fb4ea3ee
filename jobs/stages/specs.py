"""The kinds of stages: nodes of a typed graph. One class here, one file in `jobs/stages/`, one union member make a new kind.

| kind     | parents (role: kind)                                                              | what it commits                    |
|----------|-----------------------------------------------------------------------------------|------------------------------------|
| data     |                                                                                   | images.parquet of one domain       |
| base     |                                                                                   | a model's folder                   |
| sp       | base: base, shake: shake (optional: the next round's drawer), checker: base (1)    | images.parquet, rejected.json (1)  |
| prior    | base: base, checker: base (1)                                                     | images.parquet, rejected.json (1)  |
| shake    | base: base, train: sp or data, prior: prior, match: shake, public: data (5),       | adapters, adapter.json,            |
|          | own: sp (5) (all but base optional)                                               | curve.json, defence.json (6)       |
| captions | data: data, captioner: base (3)                                                   | captions.parquet                   |
| score    | base: base, shake: shake (absent: the un-shaken base), data: data,                 | scores.parquet                     |
|          | captions: captions (7), choice: choice (8)                                        |                                    |
| choice   | score: score (several: each candidate on each calibration domain, in this order)  | choice.json                        |
| blind    | data: data                                                                        | blind.json                         |
| fidelity | drawn: sp, data: data, others: data (2), features: base (3), before: fidelity (4)   | fidelity.json                      |
| extract  | drawn: sp, data: data, features: base (3), before: extract (4)                     | extraction.json, matches.parquet   |
| memorisation | base: base, shake: shake (absent: the un-shaken base), before: memorisation (4) | memorisation.json                 |
| metrics  | before: score, after: score                                                       | metrics.json                       |
| pooled   | before: score (several), after: score (several)                                   | pooled.json                        |

`images.parquet` is `images-00000.parquet`, ... where a set is large: `s2l_core.images.read_images` reads both.
(1) where the safety checker is on. (2) the data set's domains, for the identity share. (3) a network of the user's.
(4) where the model is a shaken one: the same measured of the un-shaken one. (5) what the defences `mix` and `reject` need.
(6) where there is a defence: what it did. (7) where the attack shows automatic captions. (8) where it is what a choice on
calibration domains came to.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from s2l_core.specs.adapters import AdapterSpec
from s2l_core.specs.attacks import AttackSpec, ScoredAttack
from s2l_core.specs.base import Spec
from s2l_core.specs.captioners import CaptionerSpec
from s2l_core.specs.captions import CaptionSpec, OwnCaption
from s2l_core.specs.defences import DefenceSpec
from s2l_core.specs.extraction import ExtractionSpec
from s2l_core.specs.fidelity import FidelitySpec
from s2l_core.specs.memorisation import MemorisationSpec
from s2l_core.specs.metrics import MetricsSpec
from s2l_core.specs.objectives import ObjectiveSpec
from s2l_core.specs.synthesis import SynthesisSpec
from s2l_core.specs.training import Precision, TrainSpec


class StageSpec(Spec):
    """A stage's own part of its meaning; the rest are its parents."""

    schema_version: ClassVar[int] = 1


# --- data: where the images of one domain come from ---


class DrawnFaces(Spec):
    """Faces drawn by our own generator: nobody is shown. Members are the packaged tiny model's training images."""

    source: Literal["drawn-faces"] = "drawn-faces"
    identity: str
    seed: NonNegativeInt = 0
    members: PositiveInt = 64
    non_members: PositiveInt = 128


class DrawnStrangers(Spec):
    """Faces drawn by our own generator, another one in each image: public images, neither members nor non-members."""

    source: Literal["drawn-strangers"] = "drawn-strangers"
    seed: NonNegativeInt = 102
    images: PositiveInt = 256


class FolderImages(Spec):
    """One domain of an imagefolder, named by what it holds; where it lies is no part of the meaning."""

    source: Literal["folder"] = "folder"
    domain: str
    content: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class PublicFolder(Spec):
    """All images of an imagefolder, whatever their domains: public ones. Named by what it holds."""

    source: Literal["public-folder"] = "public-folder"
    content: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class GivenImages(Spec):
    """Stands for a domain of images that the user has yet to give: it can be planned, and does not run."""

    source: Literal["to-be-given"] = "to-be-given"
    what: str
    domain: str


class DataStage(StageSpec):
    kind: Literal["data"] = "data"
    source: Annotated[DrawnFaces | DrawnStrangers | FolderImages | PublicFolder | GivenImages, Field(discriminator="source")]


# --- base: where the pre-trained model comes from ---


class PackagedModel(Spec):
    """A tiny model that ships with S2L, named by its digest."""

    source: Literal["packaged"] = "packaged"
    name: str
    content: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class FolderModel(Spec):
    """A diffusers folder, named by what it holds."""

    source: Literal["folder"] = "folder"
    content: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class HubModel(Spec):
    """A model on the hub at a pinned commit."""

    source: Literal["hub"] = "hub"
    repo: str
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]


class GivenModel(Spec):
    """Stands for a model that the user has yet to give: it can be planned, and does not run."""

    source: Literal["to-be-given"] = "to-be-given"
    what: str


Family = Literal["sd", "safety-checker", "clip", "captioner"]


class BaseStage(StageSpec):
    """A pre-trained model: a Stable Diffusion pipeline, the safety checker of one, a CLIP that measures images, or what captions them."""

    kind: Literal["base"] = "base"
    source: Annotated[PackagedModel | FolderModel | HubModel | GivenModel, Field(discriminator="source")]
    family: Family = "sd"


# --- what is drawn, trained, attacked and measured ---


class SpStage(StageSpec):
    kind: Literal["sp"] = "sp"
    synthesis: SynthesisSpec


class PriorStage(StageSpec):
    kind: Literal["prior"] = "prior"
    synthesis: SynthesisSpec


class ShakeStage(StageSpec):
    schema_version: ClassVar[int] = 2
    kind: Literal["shake"] = "shake"
    adapters: Annotated[tuple[AdapterSpec, ...], Field(min_length=1)]
    objective: ObjectiveSpec
    training: TrainSpec
    name: str
    seed: NonNegativeInt = 0
    defence: DefenceSpec | None = None


class CaptionsStage(StageSpec):
    """What an attacker who has the images and not their captions makes of them. Private, as the images are."""

    kind: Literal["captions"] = "captions"
    captioner: CaptionerSpec


class ScoreStage(StageSpec):
    """Scores of one attack.

    Attributes:
        shared: the parents that scores must have in common to be computed together.
    """

    shared: ClassVar[tuple[str, ...]] = ("base", "shake", "data", "captions")
    kind: Literal["score"] = "score"
    attack: ScoredAttack
    caption: CaptionSpec = OwnCaption()
    name: str = ""
    latents: Literal["mode", "sample"] = "mode"
    autoencoder: Literal["own", "base"] = "own"
    precision: Literal["fp32", "fp64"] = "fp32"


class ChoiceStage(StageSpec):
    """The candidate with the largest AUC of the un-shaken model, in the mean over calibration domains; of equal ones the first listed."""

    kind: Literal["choice"] = "choice"
    candidates: Annotated[tuple[AttackSpec, ...], Field(min_length=2)]
    criterion: Literal["mean-auc"] = "mean-auc"


class BlindStage(StageSpec):
    schema_version: ClassVar[int] = 2
    kind: Literal["blind"] = "blind"
    folds: PositiveInt = 5
    seed: NonNegativeInt = 0


class FidelityStage(StageSpec):
    schema_version: ClassVar[int] = 2
    kind: Literal["fidelity"] = "fidelity"
    fidelity: FidelitySpec = FidelitySpec()


class ExtractStage(StageSpec):
    schema_version: ClassVar[int] = 2
    kind: Literal["extract"] = "extract"
    extraction: ExtractionSpec = ExtractionSpec()


class MemorisationStage(StageSpec):
    """Prompts with a name, of no image: `name` is the domain's, or the token that was learned for it."""

    kind: Literal["memorisation"] = "memorisation"
    memorisation: MemorisationSpec = MemorisationSpec()
    name: str


class MetricsStage(StageSpec):
    schema_version: ClassVar[int] = 6
    kind: Literal["metrics"] = "metrics"
    metrics: MetricsSpec = MetricsSpec()


class PooledStage(StageSpec):
    schema_version: ClassVar[int] = 3
    kind: Literal["pooled"] = "pooled"
    metrics: MetricsSpec = MetricsSpec()


AnyStage = Annotated[
    DataStage
    | BaseStage
    | SpStage
    | PriorStage
    | ShakeStage
    | CaptionsStage
    | ScoreStage
    | ChoiceStage
    | BlindStage
    | FidelityStage
    | ExtractStage
    | MemorisationStage
    | MetricsStage
    | PooledStage,
    Field(discriminator="kind"),
]

__all__ = ["AnyStage", "Family", "Precision", "StageSpec"]
