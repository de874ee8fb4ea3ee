"""A hypernetwork: what cross-attention makes its keys and values of goes through a residual MLP first, and nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from s2l_core.adapters import attach, save
from s2l_core.adapters.hypernetwork import ACTIVATIONS, cross_attentions
from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import keyed_noise
from s2l_core.specs.adapters import Activation, AdapterSpec, DenseAdapter, HypernetworkAdapter, LoraAdapter
from tests.adapter_cases import HYPER, PROMPTS, disturb, output, unchanged

WIDTH = 16
ALL = (LoraAdapter(rank=2, unet_targets=("to_q", "to_k", "to_v"), text_encoder_targets=()), HYPER)


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


def projection(model: StableDiffusion, name: str) -> Any:
    return model.unet.get_submodule(f"mid_block.attentions.0.transformer_blocks.0.{name}")


def mlp(weights: dict[str, Tensor], side: str, context: Tensor) -> Tensor:
    """c + W1 silu(W0 c + b0) + b1, written out."""
    w0, b0, w1, b1 = (weights[f"unet.hypernetwork.{side}.linears.{layer}.{kind}"] for layer in (0, 1) for kind in ("weight", "bias"))
    hidden = context @ w0.T + b0
    return context + (hidden * hidden.sigmoid()) @ w1.T + b1


def test_keys_and_values_are_made_of_the_context_and_what_their_mlp_adds(model: StableDiffusion) -> None:
    context = keyed_noise((2, 5, WIDTH), "context")
    plain = {name: projection(model, f"attn2.{name}").weight.detach().clone() for name in ("to_k", "to_v")}
    with attach(model, (HypernetworkAdapter(widths=(1.5,), activation="swish"),), seed=1) as on, torch.no_grad():
        disturb(on)
        weights = dict(on.parameters())
        assert weights["unet.hypernetwork.key.linears.0.weight"].shape == (24, WIDTH)
        for name, side in (("to_k", "key"), ("to_v", "value")):
            expected = mlp(weights, side, context) @ plain[name].T
            torch.testing.assert_close(projection(model, f"attn2.{name}")(context), expected)


def test_it_works_on_every_cross_attention_and_on_nothing_else(model: StableDiffusion) -> None:
    cross = [name for name, layer in model.unet.named_modules() if any(layer is one for one in cross_attentions(model.unet))]
    assert len(cross) == 4
    assert all(name.endswith("attn2") for name in cross)
    with attach(model, (HYPER,), seed=1):
        hooked = {name for name, layer in model.unet.named_modules() if layer._forward_pre_hooks}
        assert hooked == {f"{name}.{side}" for name in cross for side in ("to_k", "to_v")}


def test_it_leaves_the_text_encoder_and_the_autoencoder_out(model: StableDiffusion) -> None:
    text, pixels = model.encode_text(PROMPTS), keyed_noise((1, 3, 16, 16), "pixels")
    latents = model.encode_images(pixels)
    with attach(model, (HYPER,), seed=1) as on:
        disturb(on)
        assert torch.equal(model.encode_text(PROMPTS), text)
        assert torch.equal(model.encode_images(pixels), latents)
        assert (on.trains("unet"), on.trains("text_encoder"), on.change_norm()) == (True, False, 0)


def test_a_lora_below_it_sees_what_it_makes_of_the_context(model: StableDiffusion) -> None:
    context = keyed_noise((2, 5, WIDTH), "context")
    plain = projection(model, "attn2.to_k").weight.detach().clone()
    lora, _ = ALL
    with attach(model, (lora, HypernetworkAdapter(widths=(1.5,), activation="swish")), seed=1) as on, torch.no_grad():
        disturb(on)
        weights = dict(on.parameters())
        prefix = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
        down, up = (weights[f"{prefix}.lora_{side}.weight"] for side in "AB")
        expected = mlp(weights, "key", context) @ (plain + 32 / 2 * up @ down).T
        torch.testing.assert_close(projection(model, "attn2.to_k")(context), expected)


@pytest.mark.parametrize("adapters", [ALL, (DenseAdapter(), HYPER), (HYPER, DenseAdapter())], ids=["lora", "dense first", "dense last"])
def test_it_is_trained_beside_others(model: StableDiffusion, adapters: tuple[AdapterSpec, ...]) -> None:
    with attach(model, adapters, seed=1) as on:
        names = {name for name in on.parameters() if "hypernetwork" in name}
        assert len(names) == 8
        disturb(on)
        model.eps(keyed_noise((1, *model.latent_shape), "x"), torch.tensor([9]), model.encode_text(["photo"])).sum().backward()
        assert all(float(on.parameters()[name].grad.abs().sum()) > 0 for name in names)  # type: ignore[union-attr]


def test_dropout_works_while_it_trains_and_only_then(model: StableDiffusion) -> None:
    with attach(model, (HypernetworkAdapter(dropout=0.5),), seed=1) as on:
        disturb(on)
        still = output(model)
        on.train(True)
        assert not torch.equal(output(model), still)
        on.train(False)
        assert torch.equal(output(model), still)


# --- how it starts ---


def test_normal_draws_every_weight_with_a_spread_of_one_hundredth(model: StableDiffusion) -> None:
    with attach(model, (HypernetworkAdapter(widths=(20, 20), init="normal"),), seed=1) as on, torch.no_grad():
        weights = {name: value for name, value in on.parameters().items() if name.endswith("weight")}
        assert len(weights) == 6
        assert all(float(value.std()) == pytest.approx(0.01, rel=0.03) for value in weights.values())
        assert all(float(value.abs().sum()) == 0 for name, value in on.parameters().items() if name.endswith("bias"))
        assert len({float(value.sum()) for value in weights.values()}) == 6


def test_zero_leaves_the_last_layer_alone_at_zero(model: StableDiffusion) -> None:
    with attach(model, (HypernetworkAdapter(widths=(2, 3), layer_norm=True),), seed=1) as on, torch.no_grad():
        size = {name.removeprefix("unet.hypernetwork."): float(value.abs().max()) for name, value in on.parameters().items()}
        for side in ("key", "value"):
            assert size[f"{side}.linears.2.weight"] == 0
            assert 0.1 < size[f"{side}.linears.0.weight"] <= WIDTH**-0.5
            assert size[f"{side}.norms.1.weight"] == 1


def test_torchs_random_state_is_left_as_it_was(model: StableDiffusion) -> None:
    before = torch.get_rng_state()
    with attach(model, (HYPER,), seed=1):
        assert torch.equal(torch.get_rng_state(), before)


# --- options and files ---


def test_every_activation_of_the_spec_is_there_and_they_differ(model: StableDiffusion) -> None:
    assert set(ACTIVATIONS) == set(get_args(Activation))
    made = set()
    for activation in get_args(Activation):
        with attach(model, (HypernetworkAdapter(activation=activation),), seed=1) as on:
            disturb(on)
            made.add(output(model).numpy().tobytes())
    assert len(made) == len(ACTIVATIONS)


def test_the_file_says_what_it_is_in_one_header_entry(model: StableDiffusion, tmp_path: Path) -> None:
    spec = HypernetworkAdapter(widths=(1, 2), activation="relu", layer_norm=True, dropout=0.1)
    with attach(model, (spec,), seed=1) as on:
        save(on, tmp_path)
    with safe_open(tmp_path / "hypernetwork.safetensors", "pt") as file:
        layers = [f"linears.{number}" for number in range(3)] + ["norms.0", "norms.1"]
        assert set(file.keys()) == {
            f"{side}.{layer}.{kind}" for side in ("key", "value") for layer in layers for kind in ("weight", "bias")
        }
        (entry,) = file.metadata().values()
    assert json.loads(entry) == {"width": WIDTH, **spec.model_dump(mode="json")}


def test_a_hidden_layer_without_a_unit_is_refused(model: StableDiffusion) -> None:
    with pytest.raises(
        ValueError, match=r"the width 0\.01 of a hypernetwork gives a layer of 0 units; the text is 16 wide, so give 0\.0625 or"
    ):
        attach(model, (HypernetworkAdapter(widths=(1, 0.01)),), seed=0)


def test_a_unet_without_cross_attention_is_refused() -> None:
    class Unconditioned:
        unet = torch.nn.Linear(2, 2)

        def modules(self) -> dict[str, torch.nn.Module]:
            return {"unet": self.unet}

    with pytest.raises(ValueError, match="a hypernetwork works on cross-attention, and this UNet has none"):
        attach(Unconditioned(), (HYPER,), seed=0)  # type: ignore[arg-type]
