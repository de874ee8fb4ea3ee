"""The adapters that the contract suites try, a small model to try them on, and what a test does with both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from s2l_core.adapters import Attached
from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import keyed_noise
from s2l_core.specs.adapters import (
    AdapterSpec,
    DenseAdapter,
    GaussianAdapter,
    HypernetworkAdapter,
    LoraAdapter,
    NoAdapter,
    TextualInversionAdapter,
)
from s2l_core.specs.pretrain import SmallShape
from s2l_core.tiny.architecture import untrained


@dataclass(frozen=True)
class Case:
    """Adapters on one model, and what is to be expected of them.

    Attributes:
        trained: parts of names; every trained parameter has one, and every one has a parameter.
        still: fresh on a model they change nothing (but what a new token means).
        seeded: what is saved depends on the seed before anything is trained.
    """

    adapters: tuple[AdapterSpec, ...]
    trained: tuple[str, ...]
    still: bool = True
    seeded: bool = False


UNET, TEXT, VAE = DenseAdapter(modules=("unet",)), DenseAdapter(modules=("text_encoder",)), DenseAdapter(modules=("vae",))
LORA = LoraAdapter(rank=2, alpha=2)
LORA_IN_VAE = LoraAdapter(rank=2, alpha=3, unet_targets=(), text_encoder_targets=(), vae_targets=("to_q", "to_v", "conv_in"))
TOKEN = TextualInversionAdapter()
TOKENS = TextualInversionAdapter(tokens=("<s2l>", "<S2L-b>"), start_from="Photo")
HYPER = HypernetworkAdapter()
HYPER_FULL = HypernetworkAdapter(widths=(1, 1.5), activation="swish", layer_norm=True, dropout=0.5, init="normal")
LORA_NAMES = (".to_q.lora_", ".to_v.lora_", ".q_proj.lora_", ".v_proj.lora_")
TOKEN_NAMES = ("text_encoder.learned_embeds.<s2l>",)
HYPER_NAMES = ("unet.hypernetwork.key.", "unet.hypernetwork.value.")

CASES: dict[str, Case] = {
    "none": Case((NoAdapter(),), ()),
    "dense": Case((DenseAdapter(),), ("unet.", "text_encoder.")),
    "dense unet": Case((UNET,), ("unet.",)),
    "dense text": Case((TEXT,), ("text_encoder.",)),
    "dense vae": Case((VAE,), ("vae.encoder.", "vae.decoder.", "vae.quant_conv.", "vae.post_quant_conv.")),
    "dense all": Case((DenseAdapter(modules=("unet", "text_encoder", "vae")),), ("unet.", "text_encoder.", "vae.")),
    "lora": Case((LORA,), LORA_NAMES, seeded=True),
    "lora text": Case((LoraAdapter(rank=1, alpha=7.5, unet_targets=()),), (".q_proj.lora_", ".v_proj.lora_"), seeded=True),
    "lora convolutions, dropout": Case(
        (LoraAdapter(rank=2, dropout=0.5, unet_targets=("conv1", "to_out.0"), text_encoder_targets=()),),
        (".conv1.lora_", ".to_out.0.lora_"),
        seeded=True,
    ),
    "lora vae": Case((LORA_IN_VAE,), ("vae.encoder.conv_in.lora_", "vae.decoder.conv_in.lora_", ".to_q.lora_", ".to_v.lora_"), seeded=True),
    "lora everywhere": Case((LORA.model_copy(update={"vae_targets": ("to_k",)}),), (*LORA_NAMES, "vae."), seeded=True),
    "token": Case((TOKEN,), TOKEN_NAMES, seeded=True),
    "two tokens from a word": Case((TOKENS,), (*TOKEN_NAMES, "text_encoder.learned_embeds.<S2L-b>")),
    "hypernetwork": Case((HYPER,), HYPER_NAMES, seeded=True),
    "hypernetwork, all options": Case((HYPER_FULL,), (*HYPER_NAMES, ".norms."), still=False, seeded=True),
    "hypernetwork without hidden layers": Case((HypernetworkAdapter(widths=()),), HYPER_NAMES),
    "gaussian": Case((GaussianAdapter(sigma=0.1),), (), still=False),
    "gaussian absolute": Case(
        (GaussianAdapter(sigma=0.1, scale="absolute", modules=("unet", "text_encoder", "vae"), layers="attention"),), (), still=False
    ),
    "gaussian of sigma zero": Case((GaussianAdapter(sigma=0, modules=("unet", "text_encoder", "vae")),), ()),
    "dense text and lora": Case((TEXT, LORA), ("text_encoder.", ".to_q.lora_", ".to_v.lora_"), seeded=True),
    "dense below lora": Case((DenseAdapter(), LORA), ("unet.", "text_encoder.", *LORA_NAMES), seeded=True),
    "token and lora": Case((TOKEN, LORA), (*TOKEN_NAMES, *LORA_NAMES), seeded=True),
    "lora and token": Case((LORA, TOKEN), (*TOKEN_NAMES, *LORA_NAMES), seeded=True),
    "token and dense": Case(
        (TOKEN, DenseAdapter()), (*TOKEN_NAMES, "unet.", "text_encoder.", "text_encoder.embeddings.token_embedding.weight"), seeded=True
    ),
    "dense and token": Case(
        (DenseAdapter(), TOKEN), (*TOKEN_NAMES, "unet.", "text_encoder.", "text_encoder.embeddings.token_embedding.weight"), seeded=True
    ),
    "lora and hypernetwork": Case((LORA, HYPER), (*LORA_NAMES, *HYPER_NAMES), seeded=True),
    "hypernetwork and dense": Case((HYPER, DenseAdapter()), (*HYPER_NAMES, "unet.", "text_encoder."), seeded=True),
    "dense and hypernetwork": Case((DenseAdapter(), HYPER), (*HYPER_NAMES, "unet.", "text_encoder."), seeded=True),
    "dense, token, lora, hypernetwork": Case((UNET, TOKEN, LORA, HYPER), ("unet.", *TOKEN_NAMES, *LORA_NAMES, *HYPER_NAMES), seeded=True),
}

SHAPE = SmallShape(image_size=16, vae_channels=(8, 16), unet_channels=(16, 32), heads=2, text_width=16, text_layers=2, tokens=8)
WIDER = SHAPE.model_copy(update={"vae_channels": (8, 24), "unet_channels": (24, 24), "text_width": 24})
PROMPTS = ("photo of ada", "face of bob", "photo", "")
WITH_TOKEN = ("photo of <s2l>", "face of <s2l> <S2L-b>", "<s2l> photo of ada", "")


@cache
def _shared() -> StableDiffusion:
    torch.set_num_threads(1)
    return small(seed=0)


@cache
def wider() -> StableDiffusion:
    """Another base: the same layers, of other sizes."""
    return small(seed=0, shape=WIDER)


def unchanged() -> Iterator[StableDiffusion]:
    """One model for all tests of a fixture: each must leave it as it was, to the bit."""
    model = _shared()
    before, tokenizer, tokens = state_of(model), model.tokenizer, len(model.tokenizer)
    yield model
    assert state_of(model) == before
    assert model.tokenizer is tokenizer
    assert len(tokenizer) == tokens


def small(seed: int, shape: SmallShape = SHAPE) -> StableDiffusion:
    model = untrained(shape, ["photo", "face", "of", "ada", "bob"], seed=seed)
    for module in model.modules().values():
        module.eval().requires_grad_(False)
    return model


def state_of(model: StableDiffusion) -> dict[str, Any]:
    """All that a warm cache must find unchanged: bits, gradients, modes, layers, hooks, attributes."""
    found: dict[str, Any] = {}
    for part, module in model.modules().items():
        found |= {f"{part}.{name}": value.numpy().tobytes() for name, value in module.state_dict().items()}
        found |= {f"{part}.{name} flags": (value.requires_grad, value.grad, value.dtype) for name, value in module.named_parameters()}
        found |= {f"{part}.{name} layer": (type(layer), layer.training, sorted(vars(layer))) for name, layer in module.named_modules()}
        found |= {f"{part}.{name} hooks": len(layer._forward_pre_hooks) for name, layer in module.named_modules()}
    return found


def weights_of(model: StableDiffusion) -> dict[str, Tensor]:
    """A copy of all weights by their full name."""
    named = ((f"{part}.{name}", value) for part, module in model.modules().items() for name, value in module.named_parameters())
    return {name: value.detach().clone() for name, value in named}


@torch.no_grad()
def output(model: StableDiffusion, prompts: tuple[str, ...] = PROMPTS) -> Tensor:
    """What all three networks answer, in one row."""
    latents = keyed_noise((len(prompts), *model.latent_shape), "test").to(model.dtype)
    eps = model.eps(latents, torch.tensor([1, 100, 500, 900]), model.encode_text(prompts))
    encoded = model.encode_images(keyed_noise((1, 3, model.image_size, model.image_size), "pixels"))
    return torch.cat([eps.flatten(), encoded.flatten(), model.decode(latents[:1]).flatten()])


def disturb(on: Attached) -> None:
    """What training does: every parameter moves."""
    with torch.no_grad():
        for name, parameter in on.parameters().items():
            parameter.add_(0.1 * keyed_noise(parameter.shape, "moved", name))
