"""What is trainable. One class here, one file in `s2l_core/adapters/` and one union member make a new adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from s2l_core.specs.base import Spec

Module = Literal["unet", "text_encoder", "vae"]
Layers = Literal["all", "attention", "linear", "convolution", "norm", "embedding"]
Activation = Literal["linear", "relu", "leaky-relu", "elu", "swish", "tanh", "sigmoid"]


def _in_order(modules: tuple[Module, ...]) -> tuple[Module, ...]:
    return tuple(module for module in get_args(Module) if module in modules)


def _sorted(targets: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(targets)))


Modules = Annotated[tuple[Module, ...], Field(min_length=1), AfterValidator(_in_order)]
"""Each once and in one order, so that what means the same is the same."""
Targets = Annotated[tuple[str, ...], AfterValidator(_sorted)]
Token = Annotated[str, Field(pattern=r"^<[A-Za-z0-9][A-Za-z0-9_-]*>$")]


class NoAdapter(Spec):
    """Nothing is trained: the model as it is ("before")."""

    kind: Literal["none"] = "none"


class DenseAdapter(Spec):
    """All weights of the named modules are trained."""

    kind: Literal["dense"] = "dense"
    modules: Modules = ("unet", "text_encoder")


class LoraAdapter(Spec):
    """Low-rank updates `W + alpha / rank * B A` (arXiv 2106.09685) on the named projections, through peft.

    `alpha` is stated beside `rank`, so that a sweep over ranks says what happens to the scale.
    """

    kind: Literal["lora"] = "lora"
    rank: PositiveInt = 8
    alpha: PositiveFloat = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    unet_targets: Targets = ("to_q", "to_v")
    text_encoder_targets: Targets = ("q_proj", "v_proj")
    vae_targets: Targets = ()


class TextualInversionAdapter(Spec):
    """Embedding rows of new tokens (arXiv 2208.01618); not one weight that was there before moves.

    In prompts the tokens, one after the other, take the place of the domain's name. `start_from` is a word of the vocabulary whose row the
    new rows begin at; without it they are drawn with the mean and spread of the table.
    """

    kind: Literal["textual-inversion"] = "textual-inversion"
    tokens: Annotated[tuple[Token, ...], Field(min_length=1)] = ("<s2l>",)
    start_from: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _distinct(self) -> TextualInversionAdapter:
        twice = sorted({token for token in self.tokens if self.tokens.count(token) > 1})
        if twice:
            raise ValueError(f"tokens must be distinct; got {', '.join(twice)} more than once; give each its own name")
        return self


class HypernetworkAdapter(Spec):
    """Residual MLPs on what cross-attention makes its keys and values of: `to_k(c + mlp_k(c))`, `to_v(c + mlp_v(c))`.

    One pair serves all cross-attention layers, as in the web UIs that made it popular. `widths` are the hidden layers in multiples of the
    context's width. With `init: zero` the last layer starts at zero, so that nothing changes at first; `normal` draws every weight with a
    standard deviation of 0.01, as those web UIs do.
    """

    kind: Literal["hypernetwork"] = "hypernetwork"
    widths: tuple[PositiveFloat, ...] = (2.0,)
    activation: Activation = "linear"
    layer_norm: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    init: Literal["zero", "normal"] = "zero"


class GaussianAdapter(Spec):
    """Nothing is trained: independent Gaussian noise is added to weights, once, drawn from the shake's seed.

    `sigma` is the noise's standard deviation: relative to each tensor's root mean square, or absolute. With `sigma: match` the noise
    is, module by module, as long (L2 over all its weights) as what another shake changed; where `modules` is not given, it is on those
    that the other one changes.
    """

    kind: Literal["gaussian"] = "gaussian"
    sigma: NonNegativeFloat | Literal["match"] = 0.01
    scale: Literal["rms", "absolute"] = "rms"
    modules: Modules = ("unet",)
    layers: Layers = "all"


AdapterSpec = Annotated[
    NoAdapter | DenseAdapter | LoraAdapter | TextualInversionAdapter | HypernetworkAdapter | GaussianAdapter,
    Field(discriminator="kind"),
]


def changed_modules(adapters: Sequence[AdapterSpec]) -> tuple[Module, ...]:
    """The modules whose weights the adapters move; rows of new tokens and hypernetworks move none."""
    moved: set[Module] = set()
    for adapter in adapters:
        match adapter:
            case DenseAdapter() | GaussianAdapter():
                moved.update(adapter.modules)
            case LoraAdapter():
                targets = adapter.unet_targets, adapter.text_encoder_targets, adapter.vae_targets
                moved.update(module for module, of_module in zip(get_args(Module), targets, strict=True) if of_module)
            case _:
                pass
    return tuple(module for module in get_args(Module) if module in moved)


def token_for(adapters: Sequence[AdapterSpec]) -> str | None:
    """What takes the place of the domain's name in prompts: the new tokens, one after the other. None when no token is trained."""
    tokens = [token for adapter in adapters if isinstance(adapter, TextualInversionAdapter) for token in adapter.tokens]
    return " ".join(tokens) if tokens else None


def check_together(adapters: Sequence[AdapterSpec]) -> None:
    """Whether adapters can be on one model, in the order given.

    Raises:
        ValueError: they cannot; the text says which order or choice is allowed.
    """
    kinds = [adapter.kind for adapter in adapters]
    for place, kind in enumerate(kinds):
        before = kinds[:place]
        if kind in before:
            raise ValueError(f"adapter {kind} is given twice; allowed: each kind once")
        if kind == "dense" and "lora" in before:
            raise ValueError("adapter dense comes after lora and would train its layers too; give dense first")
        if kind == "lora" and "hypernetwork" in before:
            raise ValueError("adapter lora comes after hypernetwork and would not see what it makes of the context; give lora first")
    for alone, why in (("none", "trains nothing"), ("gaussian", "is noise in place of training")):
        others = [kind for kind in kinds if kind != alone]
        if alone in kinds and others:
            raise ValueError(f"adapter {alone} {why} and stands alone; got it with {', '.join(others)}; leave one of them out")
