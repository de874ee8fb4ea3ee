"""The fields of a point, and a checked grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from jobs.grid.captions import CaptionSetting
from jobs.grid.choose import GridAttack
from jobs.policy import RetryPolicy
from s2l_core.specs.adapters import AdapterSpec, Layers, Token
from s2l_core.specs.base import Spec
from s2l_core.specs.defences import DefenceSpec
from s2l_core.specs.extraction import MatchingSpec
from s2l_core.specs.fidelity import HogFeatures, PixelFeatures
from s2l_core.specs.memorisation import MemorisationSpec
from s2l_core.specs.objectives import DenoiseObjective, ObjectiveSpec, PriorPreservation
from s2l_core.specs.synthesis import PromptTemplate
from s2l_core.specs.training import Precision

Text = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=10**18)]


class MethodSpec(Spec):
    """A method spelled out: what is trainable (`adapters`) and how (`objective`)."""

    name: Annotated[str | None, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._+-]*$")] = Field(None, description="what tables and plots call it")
    adapters: tuple[AdapterSpec, ...] = Field(min_length=1)
    objective: ObjectiveSpec = DenoiseObjective()


class NetworkFeatures(Spec):
    """The image embedding of a CLIP (arXiv 2103.00020): `model` is a folder in the transformers layout, or a hub id with its commit."""

    kind: Literal["clip"] = "clip"
    model: Text


FidelityFeatures = Annotated[PixelFeatures | HogFeatures | NetworkFeatures, Field(discriminator="kind")]


class ExtractionSettings(MatchingSpec):
    """How candidates are matched with members: the features, and what differs from the published protocol (docs/extraction.md)."""

    features: Literal["pixels", "hog"] | FidelityFeatures


class Point(BaseModel):
    """The settings of one trial. Each may be fixed, an axis, zipped, or given by an `include` point."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    domain: Text = Field(
        description="The person or subject whose leakage is measured: a domain of the data set; `[all]` under axes is all of them."
    )
    method: Text | MethodSpec = Field(
        description="How the model is fine-tuned: a preset's name, or a mapping that spells out adapters and objective."
    )
    model: Text = Field(
        "tiny",
        description="The pre-trained model: `tiny`, `tiny-sm1` or `tiny-sm2` (packaged), a diffusers folder, a hub id "
        "`owner/name@commit`, or `to-be-given:NAME`: "
        "planned, and refused by `s2l run`.",
    )
    data: Text = Field(
        "tiny-faces",
        description="The data set of members and non-members: `tiny-faces` (drawn), an imagefolder (from the current folder), or "
        "`to-be-given:people`: forty stand-ins.",
    )
    seed: Seed = Field(0, description="Seed of the fine-tuning. It re-keys neither base, SP set nor `before`.")
    sp_seed: Seed = Field(0, description="Seed of the SP set and of the class images for prior preservation.")
    rank: PositiveInt | None = Field(None, description="LoRA rank; the preset's 8 when absent. Only where a LoRA is trained.")
    alpha: PositiveFloat | Literal["rank"] | None = Field(
        None,
        description="LoRA alpha (scale = alpha / rank); the preset's 32 when absent. `rank`: as large as the rank, a constant scale of 1.",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(None, description="LoRA dropout; 0 when absent.")
    tokens: Annotated[tuple[Token, ...], Field(min_length=1)] | None = Field(
        None,
        description="The new tokens of textual inversion, such as `<ada>`; or a list that stands side by side. `<s2l>` when absent.",
    )
    start_from: Text | None = Field(
        None, description="A word of the model's vocabulary whose embedding the new tokens begin at; random ones when absent."
    )
    sigma: NonNegativeFloat | Literal["match"] | None = Field(
        None,
        description="Standard deviation of Gaussian noise on the weights; 0.01 when absent. `match`: noise as long, module by "
        "module, as what the method `match_method` changes at this point. Only where the method is noise.",
    )
    noise_scale: Literal["rms", "absolute"] | None = Field(
        None, description="What `sigma` is relative to: each tensor's root mean square (`rms`, when absent), or nothing."
    )
    noise_layers: Layers | None = Field(None, description="The layers that noise is added to; all when absent.")
    match_method: Text | MethodSpec | None = Field(
        None, description="The method whose change `sigma: match` is as long as: a preset's name, or spelled out; dreambooth when absent."
    )
    lr: PositiveFloat | None = Field(None, description="Learning rate of AdamW; the method's when absent (see Methods).")
    steps: PositiveInt | None = Field(None, description="Optimiser steps. Give `steps` or `epochs`, not both.")
    epochs: PositiveInt | None = Field(
        None, description="Passes over the images: ceil(images / batch) steps each; the published 100 when absent."
    )
    batch: PositiveInt | None = Field(
        None, description="Effective batch size; the method's published one when absent (4, or 2 for lora+dreambooth)."
    )
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="How the learning rate falls after the warm-up.")
    warmup: NonNegativeInt = Field(0, description="Steps in which the learning rate rises from zero.")
    optimizer: Literal["adamw", "adamw8bit"] = Field("adamw", description="`adamw8bit` keeps its moments in 8 bits (a GPU, bitsandbytes).")
    weight_decay: NonNegativeFloat = Field(1e-2, description="Weight decay of AdamW; the published 1e-2 when absent.")
    clip: PositiveFloat | Literal["none"] = Field(1.0, description="Norm that gradients are clipped to, as published; or `none`.")
    ema: Annotated[float, Field(gt=0, lt=1)] | Literal["none"] = Field(
        "none", description="Decay of an exponential moving average of the weights, which takes their place at the end; or `none`."
    )
    snr_gamma: PositiveFloat | Literal["none"] = Field(
        "none", description="Min-SNR weighting of timesteps (arXiv 2303.09556), usually 5; or `none`."
    )
    precision: Precision = Field("fp32", description="Precision of the fine-tuning.")
    sp_size: PositiveInt = Field(64, description="Images in the SP set (the paper: 2,000).")
    sp_steps: PositiveInt = Field(50, description="Sampling steps per SP image.")
    sp_scheduler: Literal["ddim", "model"] = Field("ddim", description="The sampler of the SP set: DDIM, or the one the model comes with.")
    sp_precision: Precision = Field("fp32", description="Precision in which the SP set is drawn.")
    guidance: NonNegativeFloat = Field(7.5, description="Classifier-free guidance of the SP set; 1 is none.")
    sp_prompts: Text | Annotated[tuple[str | PromptTemplate, ...], Field(min_length=1)] = Field(
        "photo-and-face",
        description="Prompts of the SP set: a preset's name, or a list of texts, or of mappings `{text, weight}`. `{name}` stands for the "
        "domain's name; a prompt may do without it.",
    )
    negative_prompt: str | None = Field(None, description="Negative prompt of the SP set; the prompt preset's when absent.")
    safety_checker: bool = Field(
        False, description="Leave images that the model's own safety checker rejects out of the SP set, and count them."
    )
    train_on: Literal["sp", "members", "unrelated"] = Field(
        "sp",
        description="What the model is fine-tuned on: its own SP set; the true members (positive control, also called private "
        "oracle); or the SP set of an unrelated domain, the next one in the data set's sorted list (negative control).",
    )
    rounds: PositiveInt = Field(
        1,
        description="Rounds of SP set and shake: from the second on, the model that was shaken in the round before draws the SP set, and a "
        "fresh copy of the base is shaken on it. Rounds are shared: 3 holds the rounds of 2.",
    )
    attack_domain: Text | None = Field(
        None, description="Domain transfer: the domain whose images are attacked; the one the model is fine-tuned on when absent."
    )
    prior: bool | PriorPreservation = Field(
        False,
        description="Prior preservation with class images from the base model; off as published. Only with the dreambooth objective.",
    )
    defence: Text | DefenceSpec = Field(
        "none",
        description="What protects the fine-tuning, or is tried to: a preset's name, or a mapping with a `kind` (docs/defences.md). Only "
        "where something is trained.",
    )
    public: Text | None = Field(
        None,
        description="What the defence `mix` mixes in: `strangers` (drawn faces of nobody; also when absent and the data set is drawn), or "
        "an imagefolder of images that show nobody of the data set.",
    )
    caption: Literal["own", "domain", "null"] | CaptionSetting = Field(
        "own",
        description="The caption an attack shows the model: each image's own, one prompt for the domain, none (`null`), or what a "
        "captioner says of the image, `{kind: automatic, captioner: colours}` (docs/attacks.md).",
    )
    attacks: Annotated[tuple[str | GridAttack, ...], Field(min_length=1)] = Field(
        ("secmi", "pia", "loss"),
        description="The attacks, by preset name, or as mappings (`{kind: secmi, t: 60, name: early}`; docs/attacks.md), or chosen among "
        "several on domains that the grid does not attack (`{kind: choose, of: secmi, t: [60, 100], on: [DOMAIN]}`).",
    )
    fprs: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = Field(
        (0.01, 0.001), description="False positive rates at which the true positive rate is reported."
    )
    bootstrap: Annotated[int, Field(ge=100, le=1_000_000)] = Field(1000, description="Bootstrap draws for the intervals of TPR at an FPR.")
    fidelity: Text | FidelityFeatures = Field(
        "none",
        description="Measure what the model draws for the domain, before and after, beside members and non-members, in these features: "
        "`pixels`, `hog`, or a mapping (docs/fidelity.md). `none` measures nothing.",
    )
    extraction: Text | ExtractionSettings = Field(
        "none",
        description="Which members the model gives back, before and after: candidates are generated and matched with members and, as a "
        "control, with non-members (docs/extraction.md). The features of the pre-filter, `pixels` or `hog`, for the published protocol "
        "in them (5,000 candidates); or a mapping. `none` generates nothing.",
    )
    extract_seed: Seed = Field(0, description="Seed of the candidates for extraction; they are drawn from other noise than the SP set.")
    memorisation: Text | MemorisationSpec = Field(
        "none",
        description="How strongly the model knows the domain's name, before and after, beside invented names: the size of the "
        "text-conditional noise of prompts (docs/attacks.md). `default` for the published settings, or a mapping; `none` asks nothing.",
    )


FIELDS: tuple[str, ...] = tuple(Point.model_fields)
POSITION: dict[str, int] = {name: position for position, name in enumerate(FIELDS)}


def columns(*names: str) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Takes the named settings out of a row."""
    return itemgetter(*(POSITION[name] for name in names))


LIST_FIELDS = frozenset({"attacks", "fprs", "sp_prompts", "tokens"})
LORA_FIELDS = ("rank", "alpha", "dropout")
TOKEN_FIELDS = ("tokens", "start_from")
NOISE_FIELDS = ("sigma", "noise_scale", "noise_layers", "match_method")
REQUIRED = tuple(name for name, info in Point.model_fields.items() if info.is_required())


class Named:
    """A structured value under the label that tables show; in one grid equal labels mean equal values."""

    __slots__ = ("_hash", "label", "value")

    def __init__(self, label: Any, value: Any) -> None:
        self.label, self.value = label, value
        self._hash = hash((type(label), label))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and type(other.label) is type(self.label) and other.label == self.label

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Named({self.label!r})"


def label(value: Any) -> Any:
    """The JSON value that stands for a point's value in tables."""
    return value.label if isinstance(value, Named) else value


@dataclass(frozen=True)
class Grid:
    """A grid file whose every value has been checked by itself.

    Attributes:
        source: the file's name as the user gave it, for messages.
        fixed: field -> value for all points.
        axes: field -> values; the product is taken in this order.
        zips: groups of fields whose values move together, all lists of a group equally long.
        when: field -> {field: values}; where it does not hold, the field is absent.
        include, exclude: partial points, field -> values.
        by_method: a method's label -> field -> value for its points.
        retry: what is tried again, and how often; no part of any key.
        document: the grid as a JSON value, after its profile and `--set`.
        lines: path in the document -> line of the file, or the `--set` option it came from.
        overridden: the `--set` arguments.
    """

    name: str
    source: str
    fixed: dict[str, Any]
    axes: dict[str, tuple[Any, ...]]
    zips: tuple[dict[str, tuple[Any, ...]], ...] = ()
    when: dict[str, dict[str, tuple[Any, ...]]] = field(default_factory=dict)
    include: tuple[dict[str, tuple[Any, ...]], ...] = ()
    exclude: tuple[dict[str, tuple[Any, ...]], ...] = ()
    by_method: dict[str, dict[str, Any]] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    document: dict[str, Any] = field(default_factory=dict)
    lines: Mapping[tuple[str | int, ...], int | str] = field(default_factory=dict)
    overridden: tuple[str, ...] = ()

    def place(self, *path: str | int) -> str:
        """`file:line: path`, with the nearest line known for the path."""
        return place(self.source, self.lines, path)

    def place_of(self, name: str, value: Any) -> str:
        """Where a field was given a value."""
        if name in self.axes and value in self.axes[name]:
            return self.place("axes", name, self.axes[name].index(value))
        for number, point in enumerate(self.include):
            if value in point.get(name, ()):
                return self.place("include", number, name)
        for number, group in enumerate(self.zips):
            if value in group.get(name, ()):
                return self.place("zip", number, name)
        for method, settings in self.by_method.items():
            if name in settings and settings[name] == value and value != self.fixed.get(name):
                return self.place("by_method", method, name)
        return self.place("fixed", name)


def place(source: str, lines: Mapping[tuple[str | int, ...], int | str], path: tuple[str | int, ...]) -> str:
    """`file:line: a.b[0]`; the line of the longest known beginning of the path."""
    line = next((lines[path[:length]] for length in range(len(path), -1, -1) if path[:length] in lines), None)
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    if isinstance(line, str):
        return f"{line}: {dotted}"
    return f"{source}:{line}: {dotted}" if line else f"{source}: {dotted}"
