"""Gaussian noise: as large as asked for, where asked for, the same everywhere, and gone without a trace."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from s2l_core.adapters import attach, attach_saved, save
from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import GaussianAdapter, Layers, LoraAdapter, Module
from tests.adapter_cases import disturb, output, small, unchanged, weights_of

MODULES: tuple[Module, ...] = ("unet", "text_encoder", "vae")


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


def noise(
    model: StableDiffusion, spec: GaussianAdapter, *, seed: int = 1, match_norms: dict[Module, float] | None = None
) -> dict[str, Tensor]:
    """What was added to each weight that is not as it was."""
    before = weights_of(model)
    with attach(model, (spec,), seed=seed, match_norms=match_norms):
        return {name: now - before[name] for name, now in weights_of(model).items() if not torch.equal(now, before[name])}


def rms(value: Tensor) -> float:
    return math.sqrt(float(value.double().square().mean()))


def norm(found: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float(value.double().square().sum()) for value in found.values()))


# --- how much ---


def test_relative_noise_is_sigma_times_each_weights_root_mean_square(model: StableDiffusion) -> None:
    before = weights_of(model)
    found = noise(model, GaussianAdapter(sigma=0.05))
    large = {name: value for name, value in found.items() if value.numel() > 2000}
    assert len(large) > 10
    for name, value in large.items():
        assert rms(value) == pytest.approx(0.05 * rms(before[name]), rel=0.08)
        assert abs(float(value.mean())) < 4 * 0.05 * rms(before[name]) / math.sqrt(value.numel())
    assert not any(value.abs().sum() > 0 and rms(before[name]) == 0 for name, value in found.items())


def test_absolute_noise_has_one_standard_deviation_everywhere(model: StableDiffusion) -> None:
    found = noise(model, GaussianAdapter(sigma=0.05, scale="absolute"))
    assert found.keys() == {name for name in weights_of(model) if name.startswith("unet.")}
    assert all(rms(value) == pytest.approx(0.05, rel=0.08) for value in found.values() if value.numel() > 2000)


def test_sigma_zero_is_the_baseline_to_the_bit_even_where_a_weight_is_minus_zero() -> None:
    model = small(seed=0)
    with torch.no_grad():
        model.unet.conv_in.bias.fill_(-0.0)
    before = {name: value.numpy().tobytes() for name, value in weights_of(model).items()}
    with attach(model, (GaussianAdapter(sigma=0, modules=MODULES),), seed=1) as on:
        assert {name: value.numpy().tobytes() for name, value in weights_of(model).items()} == before
        assert on.change_norm() == 0
    with attach(model, (GaussianAdapter(sigma=0.1),), seed=1):  # relative to a weight that is zero, noise is none
        assert model.unet.conv_in.bias.numpy().tobytes() == before["unet.conv_in.bias"]
        assert model.unet.conv_out.weight.numpy().tobytes() != before["unet.conv_out.weight"]


def test_a_matched_noise_is_as_long_as_what_another_shake_changed(model: StableDiffusion) -> None:
    with attach(model, (LoraAdapter(rank=2),), seed=3) as other:
        disturb(other)
        lengths = other.change_norms()
    assert lengths.keys() == {"unet", "text_encoder"}
    length = lengths["unet"]
    before = weights_of(model)
    found = noise(model, GaussianAdapter(sigma="match"), match_norms=lengths)
    assert norm(found) == pytest.approx(length, rel=1e-5)
    shares = {rms(value) / rms(before[name]) for name, value in found.items() if value.numel() > 4000}
    assert max(shares) == pytest.approx(min(shares), rel=0.1)  # each weight's noise is in proportion to its root mean square
    flat = noise(model, GaussianAdapter(sigma="match", scale="absolute", layers="linear"), match_norms=lengths)
    assert norm(flat) == pytest.approx(length, rel=1e-5)
    spreads = [rms(value) for value in flat.values() if value.numel() > 2000]
    assert max(spreads) == pytest.approx(min(spreads), rel=0.1)


def test_a_matched_noise_has_in_each_module_the_length_of_that_module_s_change(model: StableDiffusion) -> None:
    wanted: dict[Module, float] = {"unet": 0.5, "text_encoder": 0.02}
    with attach(model, (GaussianAdapter(sigma="match", modules=MODULES),), seed=1, match_norms=wanted) as on:
        assert on.change_norms() == {**{module: pytest.approx(norm, rel=1e-4) for module, norm in wanted.items()}, "vae": 0.0}
        assert on.change_norm() == pytest.approx(math.hypot(0.5, 0.02), rel=1e-4)
    alone = noise(model, GaussianAdapter(sigma="match", modules=("text_encoder",)), match_norms=wanted)
    assert norm(alone) == pytest.approx(0.02, rel=1e-4)


def test_the_norm_of_its_change_is_that_of_the_noise(model: StableDiffusion) -> None:
    spec = GaussianAdapter(sigma=0.1, modules=MODULES)
    with attach(model, (spec,), seed=1) as on:
        change = on.change_norm()
    assert change == pytest.approx(norm(noise(model, spec)), rel=1e-4)
    with attach(model, (GaussianAdapter(sigma="match"),), seed=1, match_norms={"unet": 0.25}) as on:
        assert on.change_norm() == pytest.approx(0.25, rel=1e-4)


# --- where ---


@pytest.mark.parametrize("layers", get_args(Layers))
def test_a_choice_of_layers_is_those_layers(model: StableDiffusion, layers: Layers) -> None:
    expected = {
        "all": lambda name, value: True,
        "attention": lambda name, value: any(part in name for part in (".attn1.", ".attn2.", ".self_attn.", "mid_block.attentions.0.")),
        "linear": lambda name, value: value.ndim == 2 and "embeddings." not in name,
        "convolution": lambda name, value: value.ndim == 4,
        "norm": lambda name, value: "norm" in name,
        "embedding": lambda name, value: "embeddings." in name,
    }[layers]
    found = noise(model, GaussianAdapter(sigma=0.1, scale="absolute", modules=MODULES, layers=layers))
    matrices = {name: value for name, value in weights_of(model).items() if value.ndim > 1 or layers in ("all", "norm")}
    wanted = {name for name, value in matrices.items() if expected(name, value)}
    if layers == "attention":  # in the UNet a transformer's attention, not the convolutions and feed-forward layers around it
        around = (".ff.", ".proj_in.", ".proj_out.", ".mlp.")
        wanted = {name for name in wanted if not any(part in name for part in around)}
        assert any(name.startswith("vae.") for name in wanted)
    assert wanted
    assert wanted == {name for name in found if name in matrices}
    assert any(name.endswith("bias") for name in found) == (layers != "embedding")


def test_a_module_that_is_not_named_keeps_its_weights(model: StableDiffusion) -> None:
    assert {name.partition(".")[0] for name in noise(model, GaussianAdapter(modules=("text_encoder", "vae")))} == {"text_encoder", "vae"}


def test_a_choice_that_holds_nothing_is_refused(model: StableDiffusion) -> None:
    with pytest.raises(
        ValueError, match=r"gaussian finds no weights: unet and vae have no embedding layers; choose other layers, or layers: all"
    ):
        attach(model, (GaussianAdapter(modules=("unet", "vae"), layers="embedding"),), seed=0)


# --- the same again ---


def test_a_weights_noise_depends_on_the_seed_and_its_name_alone(model: StableDiffusion) -> None:
    whole = noise(model, GaussianAdapter(sigma=0.1, scale="absolute", modules=MODULES))
    part = noise(model, GaussianAdapter(sigma=0.1, scale="absolute", modules=("unet",), layers="norm"))
    other = noise(model, GaussianAdapter(sigma=0.1, scale="absolute", modules=("unet",), layers="norm"), seed=2)
    assert all(torch.equal(value, whole[name]) for name, value in part.items())
    assert not any(torch.equal(value, other[name]) for name, value in part.items())
    same_shape = [value.flatten() for value in part.values() if value.numel() == 16]
    assert len({float(value[0]) for value in same_shape}) == len(same_shape)


def test_a_larger_sigma_is_the_same_noise_made_longer(model: StableDiffusion) -> None:
    one, two = (noise(model, GaussianAdapter(sigma=sigma, scale="absolute", layers="linear")) for sigma in (0.1, 0.2))
    assert all(torch.allclose(2 * value, two[name], atol=1e-6) for name, value in one.items())


def test_it_trains_nothing_and_needs_no_images(model: StableDiffusion) -> None:
    with attach(model, (GaussianAdapter(),), seed=1) as on:
        assert on.parameters() == {}
        assert not any(on.trains(module) for module in MODULES)


def test_the_file_holds_the_standard_deviations_and_not_the_noise(model: StableDiffusion, tmp_path: Path) -> None:
    before = weights_of(model)
    with attach(model, (GaussianAdapter(sigma=0.1),), seed=1) as on:
        save(on, tmp_path)
    saved = load_file(tmp_path / "gaussian.safetensors")
    weights = {name for name in before if name.startswith("unet.")}
    assert saved.keys() == {f"sigma.{name}" for name in weights} | {f"rms.{name}" for name in weights}
    assert all(float(saved[f"sigma.{name}"]) == 0.1 * float(saved[f"rms.{name}"]) for name in weights)
    assert all(float(saved[f"rms.{name}"]) == pytest.approx(rms(before[name])) for name in weights)


def test_a_matched_noise_is_drawn_again_without_the_norm(model: StableDiffusion, tmp_path: Path) -> None:
    with attach(model, (GaussianAdapter(sigma="match"),), seed=5, match_norms={"unet": 0.5}) as on:
        save(on, tmp_path)
        expected = output(model)
    with attach_saved(model, tmp_path) as on:
        assert torch.equal(output(model), expected)
        assert on.change_norm() == pytest.approx(0.5, rel=1e-4)


def test_another_base_with_the_same_shapes_is_refused(model: StableDiffusion, tmp_path: Path) -> None:
    with attach(small(seed=9), (GaussianAdapter(),), seed=1) as on:
        save(on, tmp_path)
    with pytest.raises(
        ValueError, match=r"for another base model: gaussian.safetensors: the noise was made for a unet\.\S+ with root mean"
    ):
        attach_saved(model, tmp_path)


@pytest.mark.parametrize(
    ("spec", "match_norms", "message"),
    [
        ({}, None, "gaussian with sigma: match needs the norms of another shake's change; give match_norms, or sigma as a number"),
        ({}, {"unet": -1.0}, r"match_norms must be numbers of 0 or more; got -1\.0 for unet"),
        ({}, {"vae": math.nan}, "match_norms must be numbers of 0 or more; got nan for vae"),
        (
            {"modules": ("unet", "vae"), "layers": "embedding"},
            {"unet": 1.0},
            "gaussian finds no weights: unet and vae have no embedding layers",
        ),
        (
            {"modules": ("unet", "text_encoder"), "layers": "embedding"},
            {"unet": 1.0, "text_encoder": 1.0},
            "gaussian cannot match the change of unet: the choice of layers holds no weight of it; choose others",
        ),
    ],
)
def test_norms_that_cannot_be_matched_are_refused(
    model: StableDiffusion, spec: dict[str, Any], match_norms: dict[Module, float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        attach(model, (GaussianAdapter(sigma="match", **spec),), seed=0, match_norms=match_norms)


def test_a_negative_sigma_is_no_spec() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        GaussianAdapter(sigma=-0.1)
