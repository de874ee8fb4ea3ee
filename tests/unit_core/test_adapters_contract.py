"""What every adapter promises, asked of every member of the union: it goes on, is saved, comes off without a trace, and goes on again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from s2l_core.adapters import Attached, attach, attach_saved, attached, save
from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import keyed_noise
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, LoraAdapter, NoAdapter
from s2l_core.specs.pretrain import SmallShape
from s2l_core.tiny.architecture import untrained

EXAMPLES: dict[str, tuple[AdapterSpec, ...]] = {
    "none": (NoAdapter(),),
    "dense": (DenseAdapter(),),
    "dense unet": (DenseAdapter(modules=("unet",)),),
    "dense text": (DenseAdapter(modules=("text_encoder",)),),
    "lora": (LoraAdapter(rank=2, alpha=2),),
    "lora text": (LoraAdapter(rank=1, alpha=7.5, unet_targets=()),),
    "lora convolutions, dropout": (LoraAdapter(rank=2, dropout=0.5, unet_targets=("conv1", "to_out.0"), text_encoder_targets=()),),
    "dense and lora": (DenseAdapter(modules=("text_encoder",)), LoraAdapter(rank=2)),
}
TRAINED = {
    "none": (),
    "dense": ("unet.", "text_encoder."),
    "dense unet": ("unet.",),
    "dense text": ("text_encoder.",),
    "lora": (".to_q.lora_", ".to_v.lora_", ".q_proj.lora_", ".v_proj.lora_"),
    "lora text": (".q_proj.lora_", ".v_proj.lora_"),
    "lora convolutions, dropout": (".conv1.lora_", ".to_out.0.lora_"),
    "dense and lora": ("text_encoder.", ".to_q.lora_", ".to_v.lora_"),
}
SHAPE = SmallShape(image_size=16, vae_channels=(8, 16), unet_channels=(16, 32), heads=2, text_width=16, text_layers=2, tokens=8)
PROMPTS = ("photo of ada", "face of bob", "photo", "")

every_adapter = pytest.mark.parametrize("adapters", EXAMPLES.values(), ids=EXAMPLES)


@pytest.fixture(scope="module")
def shared() -> StableDiffusion:
    torch.set_num_threads(1)
    return small(seed=0)


@pytest.fixture
def model(shared: StableDiffusion) -> Iterator[StableDiffusion]:
    """One model for all tests: each must leave it as it was, to the bit."""
    before = state_of(shared)
    yield shared
    assert state_of(shared) == before


def small(seed: int, shape: SmallShape = SHAPE) -> StableDiffusion:
    model = untrained(shape, ["photo", "face", "of", "ada", "bob"], seed=seed)
    for module in model.modules().values():
        module.eval().requires_grad_(False)
    return model


def state_of(model: StableDiffusion) -> dict[str, Any]:
    """All that a warm cache must find unchanged: bits, gradients, modes, layers, attributes."""
    found: dict[str, Any] = {}
    for part, module in model.modules().items():
        found |= {f"{part}.{name}": value.numpy().tobytes() for name, value in module.state_dict().items()}
        found |= {f"{part}.{name} flags": (value.requires_grad, value.grad, value.dtype) for name, value in module.named_parameters()}
        found |= {f"{part}.{name} layer": (type(layer), layer.training, sorted(vars(layer))) for name, layer in module.named_modules()}
    return found


@torch.no_grad()
def output(model: StableDiffusion) -> Tensor:
    latents = keyed_noise((len(PROMPTS), *model.latent_shape), "test")
    return model.eps(latents.to(model.dtype), torch.tensor([1, 100, 500, 900]), model.encode_text(PROMPTS))


def disturb(on: Attached) -> None:
    """What training does: every parameter moves."""
    with torch.no_grad():
        for name, parameter in on.parameters().items():
            parameter.add_(0.1 * keyed_noise(parameter.shape, "moved", name))


def test_every_member_of_the_union_is_under_contract() -> None:
    union = get_args(get_args(AdapterSpec)[0])
    assert {type(spec) for adapters in EXAMPLES.values() for spec in adapters} == set(union)


# --- the contract ---


@every_adapter
def test_saved_and_attached_again_it_gives_the_same_bits(model: StableDiffusion, adapters: tuple[AdapterSpec, ...], tmp_path: Path) -> None:
    plain = output(model)
    with attach(model, adapters, seed=1) as on:
        disturb(on)
        moved = output(model)
        assert torch.equal(moved, plain) == (not on.parameters())
        save(on, tmp_path)
    assert torch.equal(output(model), plain)
    with attach_saved(model, tmp_path) as again:
        assert torch.equal(output(model), moved)
        assert again.specs == adapters
    with attached(model, tmp_path) as the_model:
        assert torch.equal(output(the_model), moved)
    assert torch.equal(output(model), plain)


@every_adapter
def test_fresh_on_a_model_it_changes_nothing(model: StableDiffusion, adapters: tuple[AdapterSpec, ...]) -> None:
    plain = output(model)
    with attach(model, adapters, seed=1):
        assert torch.equal(output(model), plain)


@every_adapter
def test_an_exception_leaves_the_model_as_it_was(model: StableDiffusion, adapters: tuple[AdapterSpec, ...]) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(model, adapters)
    # and the fixture compares


def interrupted(model: StableDiffusion, adapters: tuple[AdapterSpec, ...]) -> None:
    with attach(model, adapters, seed=1) as on:
        on.train(True)
        disturb(on)
        output(model)
        raise KeyboardInterrupt


@every_adapter
def test_a_loss_in_between_leaves_no_gradient_on_the_model(model: StableDiffusion, adapters: tuple[AdapterSpec, ...]) -> None:
    with attach(model, adapters, seed=1) as on:
        disturb(on)
        if on.parameters():
            context = model.encode_text(PROMPTS)
            noise = keyed_noise((len(PROMPTS), *model.latent_shape), "test")
            model.eps(noise, torch.tensor([1, 2, 3, 4]), context).square().mean().backward()
        with_gradient = {name for name, parameter in on.parameters().items() if parameter.grad is not None}
        assert len(with_gradient) >= 0.9 * len(on.parameters())  # biases before a normalisation may have none
        everywhere = sum(value.grad is not None for module in model.modules().values() for value in module.parameters())
        assert everywhere == len(with_gradient)


@pytest.mark.parametrize("case", EXAMPLES)
def test_what_it_declares_requires_gradients_and_nothing_else_does(model: StableDiffusion, case: str) -> None:
    model.vae.requires_grad_(True)  # whatever was asked for before
    with attach(model, EXAMPLES[case], seed=1) as on:
        declared = {id(parameter) for parameter in on.parameters().values()}
        wanting = {id(value) for module in model.modules().values() for value in module.parameters() if value.requires_grad}
        assert wanting == declared
        assert bool(declared) == bool(TRAINED[case])
        assert all(any(part in name for part in TRAINED[case]) for name in on.parameters())
        assert all(any(part in name for name in on.parameters()) for part in TRAINED[case])
        assert [on.trains(part) for part in ("unet", "text_encoder", "vae")] == [
            any(name.startswith(f"{part}.") for name in on.parameters()) for part in ("unet", "text_encoder", "vae")
        ]
    assert all(value.requires_grad for value in model.vae.parameters())
    model.vae.requires_grad_(False)


@every_adapter
def test_equal_adapters_are_equal_bytes(model: StableDiffusion, adapters: tuple[AdapterSpec, ...], tmp_path: Path) -> None:
    made = set()
    for time in range(8):
        (tmp_path / str(time)).mkdir()
        with attach(model, adapters, seed=1) as on:
            disturb(on)
            save(on, tmp_path / str(time))
        made.add(tuple((tmp_path / str(time) / name).read_bytes() for name in ("adapter.safetensors", "adapter.json")))
    assert len(made) == 1


@every_adapter
def test_its_start_depends_on_the_seed_and_not_on_torchs_random_state(model: StableDiffusion, adapters: tuple[AdapterSpec, ...]) -> None:
    states = []
    for seed, torch_seed in ((1, 10), (1, 11), (2, 10)):
        torch.manual_seed(torch_seed)
        with attach(model, adapters, seed=seed) as on:
            states.append({name: value.clone() for name, value in on.state().items()})
    same = [all(torch.equal(value, states[0][name]) for name, value in state.items()) for state in states]
    assert same == [True, True, not any(isinstance(spec, LoraAdapter) for spec in adapters)]


@every_adapter
def test_a_walk_through_double_precision_loses_nothing(model: StableDiffusion, adapters: tuple[AdapterSpec, ...], tmp_path: Path) -> None:
    with attach(model, adapters, seed=1) as on:
        disturb(on)
        save(on, tmp_path)
        single = output(model)
    with attached(model, tmp_path):
        model.to(dtype=torch.float64)
        torch.testing.assert_close(output(model).float(), single, rtol=1e-3, atol=1e-4)
        model.to(dtype=torch.float32)
        assert torch.equal(output(model), single)


@pytest.mark.parametrize("case", [case for case in EXAMPLES if case != "none"])
def test_an_adapter_of_another_base_is_refused(model: StableDiffusion, case: str, tmp_path: Path) -> None:
    other = small(seed=0, shape=SHAPE.model_copy(update={"text_width": 24, "unet_channels": (24, 24)}))
    with attach(other, EXAMPLES[case], seed=1) as on:
        save(on, tmp_path)
    with pytest.raises(ValueError, match="the weights are for another base model"):
        attach_saved(model, tmp_path)


def test_a_file_with_a_tensor_too_few_is_refused(model: StableDiffusion, tmp_path: Path) -> None:
    with attach(model, EXAMPLES["lora"], seed=1) as on:
        save(on, tmp_path)
    tensors = load_file(tmp_path / "adapter.safetensors")
    lost = min(tensors)
    save_file({name: value for name, value in tensors.items() if name != lost}, tmp_path / "adapter.safetensors")
    with pytest.raises(ValueError, match=f"1 names differ, such as {lost}"):
        attach_saved(model, tmp_path)


# --- dense ---


def test_dense_saves_every_weight_of_its_modules_in_full(model: StableDiffusion, tmp_path: Path) -> None:
    with attach(model, EXAMPLES["dense"], seed=1) as on:
        disturb(on)
        expected = {f"unet.{name}": value.detach().clone() for name, value in model.unet.named_parameters()}
        save(on, tmp_path)
    saved = load_file(tmp_path / "adapter.safetensors")
    assert {name for name in saved if name.startswith("unet.")} == set(expected)
    assert all(torch.equal(saved[name], value) and value.dtype == torch.float32 for name, value in expected.items())


def test_dense_training_of_the_autoencoder_is_refused_until_an_objective_trains_it(model: StableDiffusion) -> None:
    with pytest.raises(ValueError, match="reconstruction loss, which no objective has yet; allowed: unet, text_encoder"):
        attach(model, (DenseAdapter(modules=("unet", "vae")),), seed=0)


# --- lora ---


def test_a_lora_layer_adds_alpha_over_rank_times_b_a(model: StableDiffusion) -> None:
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    x = keyed_noise((3, 16), "x")
    plain = model.unet.get_submodule(layer)(x)
    with attach(model, (LoraAdapter(rank=4, alpha=10),), seed=1) as on:
        disturb(on)
        down, up = (on.parameters()[f"unet.{layer}.lora_{side}.weight"] for side in "AB")
        assert (down.shape, up.shape) == ((4, 16), (16, 4))
        torch.testing.assert_close(model.unet.get_submodule(layer)(x), plain + 10 / 4 * x @ down.T @ up.T)


def test_dropout_of_a_lora_works_while_it_trains_and_only_then(model: StableDiffusion) -> None:
    with attach(model, EXAMPLES["lora convolutions, dropout"], seed=1) as on:
        disturb(on)
        still = output(model)
        assert torch.equal(output(model), still)
        on.train(True)
        assert not torch.equal(output(model), still)
        on.train(False)
        assert torch.equal(output(model), still)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (LoraAdapter(unet_targets=("to_w",), rank=1), r"no projection of the unet is called 'to_w'; the nearest are to_v, to_q, to_k"),
        (
            LoraAdapter(text_encoder_targets=("vproj",), rank=1),
            r"no projection of the text_encoder is called 'vproj'; the nearest are v_proj",
        ),
        (LoraAdapter(unet_targets=("norm1",), rank=1), r"no projection of the unet is called 'norm1'"),
        (LoraAdapter(rank=17), r"rank 17 is larger than unet\.\S+to_q, whose rank is 16 at most; give a rank of 1 to 16"),
        (LoraAdapter(unet_targets=(), text_encoder_targets=()), r"a LoRA needs at least one target"),
    ],
)
def test_a_lora_that_does_not_fit_is_refused_and_says_what_does(model: StableDiffusion, spec: LoraAdapter, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attach(model, (spec,), seed=0)


def test_adapters_that_do_not_go_together_are_refused(model: StableDiffusion) -> None:
    with pytest.raises(ValueError, match="adapter lora is given twice; allowed: each kind once"):
        attach(model, (LoraAdapter(rank=1), LoraAdapter(rank=2)), seed=0)
    with pytest.raises(ValueError, match="adapter dense comes after lora and would train its layers too; give dense first"):
        attach(model, (LoraAdapter(rank=1), DenseAdapter()), seed=0)


def test_a_saved_lora_is_one_that_diffusers_loads_to_the_same_image(model: StableDiffusion, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    model.save(tmp_path / "base")
    with attach(model, (LoraAdapter(rank=2, alpha=13),), seed=1) as on:
        disturb(on)
        (tmp_path / "adapter").mkdir()
        save(on, tmp_path / "adapter")
        ours = drawn(StableDiffusionPipeline.from_pretrained(tmp_path / "base", unet=model.unet, text_encoder=model.text_encoder))
    theirs = StableDiffusionPipeline.from_pretrained(tmp_path / "base")
    without = drawn(theirs)
    theirs.load_lora_weights(tmp_path / "adapter", weight_name="adapter.safetensors")
    assert torch.equal(drawn(theirs), ours)
    assert not torch.equal(without, ours)


def drawn(pipeline: Any) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline("photo of ada", num_inference_steps=4, generator=torch.Generator().manual_seed(0), output_type="pt")
    return torch.as_tensor(made.images)


def test_adapter_json_names_the_adapters_and_nothing_of_this_machine(model: StableDiffusion, tmp_path: Path) -> None:
    with attach(model, EXAMPLES["lora"], seed=1) as on:
        save(on, tmp_path)
    assert json.loads((tmp_path / "adapter.json").read_text()) == {"adapters": [EXAMPLES["lora"][0].model_dump(mode="json")]}
    header = (tmp_path / "adapter.safetensors").read_bytes()[:20_000]
    assert str(tmp_path).encode() not in header
    assert b"version" not in header
