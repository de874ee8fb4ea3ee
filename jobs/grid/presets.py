"""Named methods and prompts: the published settings, and ours where nothing is published."""

from __future__ import annotations

from dataclasses import dataclass

from s2l_core.specs.adapters import (
    AdapterSpec,
    DenseAdapter,
    GaussianAdapter,
    HypernetworkAdapter,
    LoraAdapter,
    NoAdapter,
    TextualInversionAdapter,
)
from s2l_core.specs.defences import (
    ClipNoiseDefence,
    DefenceSpec,
    DpDefence,
    EarlyStoppingDefence,
    L2ToBaseDefence,
    MixDefence,
    RejectDefence,
)
from s2l_core.specs.objectives import DenoiseObjective, DreamBoothObjective, EndToEndObjective, ObjectiveSpec, TemplatesObjective
from s2l_core.specs.synthesis import PromptTemplate

PUBLISHED_EPOCHS = 100
PUBLISHED_LR = 1e-6


@dataclass(frozen=True)
class MethodPreset:
    """What is trained and how, with the batch size and learning rate that stand where a grid gives none.

    Attributes:
        origin: where those come from: arXiv 2403.09450 (`published`), or `ours` where it does not say.
    """

    adapters: tuple[AdapterSpec, ...]
    objective: ObjectiveSpec
    words: str
    batch: int = 4
    lr: float = PUBLISHED_LR
    origin: str = "published"


_ALL = DenseAdapter(modules=("unet", "text_encoder", "vae"))
_TOKEN_LR = 5e-4
"""The ecosystem's usual value for textual inversion: one row, drawn anew, is far from where it must get to."""
_HYPERNETWORK_LR = 1e-5
"""The default of the web UIs that made hypernetworks popular."""

METHODS: dict[str, MethodPreset] = {
    "none": MethodPreset((NoAdapter(),), DenoiseObjective(), "nothing is trained: the baseline"),
    "dreambooth": MethodPreset((DenseAdapter(),), DreamBoothObjective(), "UNet and text encoder, one instance prompt for all images"),
    "end2end": MethodPreset(
        (_ALL,),
        EndToEndObjective(),
        "UNet, text encoder and autoencoder; each image with its own prompt, and the autoencoder on its own reconstruction loss",
    ),
    "lora": MethodPreset(
        (LoraAdapter(),),
        DenoiseObjective(),
        "LoRA on UNet and text encoder, each image with its own prompt",
        origin="published, batch ours",
    ),
    "lora+dreambooth": MethodPreset((LoraAdapter(),), DreamBoothObjective(), "the same LoRA, one instance prompt for all images", batch=2),
    "textual-inversion": MethodPreset(
        (TextualInversionAdapter(),),
        TemplatesObjective(),
        "the embedding rows of new tokens; templates with the tokens in place of the name",
        lr=_TOKEN_LR,
        origin="ours",
    ),
    "textual-inversion+lora": MethodPreset(
        (TextualInversionAdapter(), LoraAdapter()), TemplatesObjective(), "new tokens and the same LoRA together; templates", origin="ours"
    ),
    "textual-inversion+dreambooth": MethodPreset(
        (TextualInversionAdapter(), DenseAdapter()),
        DreamBoothObjective(),
        "new tokens, UNet and text encoder together; one instance prompt with the tokens in place of the name",
        origin="ours",
    ),
    "hypernetwork": MethodPreset(
        (HypernetworkAdapter(),),
        DenoiseObjective(),
        "residual MLPs on what cross-attention makes its keys and values of; each image with its own prompt",
        lr=_HYPERNETWORK_LR,
        origin="ours",
    ),
    "hypernetwork+dreambooth": MethodPreset(
        (HypernetworkAdapter(),),
        DreamBoothObjective(),
        "the same MLPs (UNet and text encoder stay as they are), one instance prompt for all images",
        lr=_HYPERNETWORK_LR,
        origin="ours",
    ),
    "gaussian": MethodPreset(
        (GaussianAdapter(),),
        DenoiseObjective(),
        "nothing is trained: noise on the UNet's weights, or (`sigma: match`) where another method changes weights; no images",
        origin="ours",
    ),
}

MATCHED = "dreambooth"
"""The method that `sigma: match` is matched to where a grid names none."""


@dataclass(frozen=True)
class PromptPreset:
    """Prompts of an SP set, with the negative prompt that goes with them where a grid gives none."""

    prompts: tuple[PromptTemplate, ...]
    negative: str = ""
    words: str = ""


def _equal(*texts: str) -> tuple[PromptTemplate, ...]:
    return tuple(PromptTemplate(text=text) for text in texts)


_SUFFIX = ", professional photo, studio, detailed, sharp, high quality"

PROMPTS: dict[str, PromptPreset] = {
    "photo": PromptPreset(_equal("photo of {name}"), words="the domain's name alone"),
    "photo-and-face": PromptPreset(_equal("photo of {name}", "face of {name}"), words="two framings, equally often"),
    "s2l-paper": PromptPreset(
        (PromptTemplate(text="photo of {name}" + _SUFFIX, weight=7), PromptTemplate(text="face of {name}" + _SUFFIX, weight=3)),
        negative="painting, drawing, sketch, ugly, deformed, distorted, blurry, low quality",
        words="the published mix, 70 % and 30 %; the wording after the comma and the negative prompt are ours (the paper's are not known)",
    ),
    "attributes": PromptPreset(
        _equal(*(f"{frame} of a person, {mood}" for frame in ("photo", "face") for mood in ("smiling", "serious", "sad", "surprised"))),
        words="what the drawn faces' captions tell beside the name: the expression. Describe people of your own in a list",
    ),
    "unrelated": PromptPreset(
        _equal("photo of a toy", "painting of a toy", "drawing of a toy"), words="no person at all: a control of prior knowledge"
    ),
}


@dataclass(frozen=True)
class DefencePreset:
    """A defence under a name."""

    spec: DefenceSpec
    words: str


_DP = "DP-SGD (with a LoRA: DP-LoRA); epsilon {epsilon} at delta 1e-5, which is below 1 / images for any set of fewer than 100,000"

DEFENCES: dict[str, DefencePreset] = {
    "dp-eps8": DefencePreset(DpDefence(epsilon=8), _DP.format(epsilon=8)),
    "dp-eps1": DefencePreset(DpDefence(epsilon=1), _DP.format(epsilon=1)),
    "clip-noise": DefencePreset(ClipNoiseDefence(), "the same clipping, and as much noise as it is long, on ordinary batches; no epsilon"),
    "l2-to-base": DefencePreset(L2ToBaseDefence(), "a penalty on the distance from the base's weights; dense adapters alone"),
    "early-stopping": DefencePreset(EarlyStoppingDefence(), "the weights at which the loss on a held-out fifth of the set is least"),
    "mix": DefencePreset(MixDefence(), "images and prompts are mixed with public ones (`public`); not with end-to-end"),
    "reject": DefencePreset(RejectDefence(), "a set that looks like the model's own samples is refused: the trial fails, with the numbers"),
}
