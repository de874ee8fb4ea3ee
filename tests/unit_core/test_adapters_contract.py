"""What every adapter promises, asked of every member of the union: it goes on, is saved, comes off without a trace, and goes on again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch

from s2l_core.adapters import Attached, attach, attach_saved, attached, save
from s2l_core.attacks.engine import run_attacks
from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import keyed_noise
from s2l_core.specs.adapters import AdapterSpec, GaussianAdapter
from s2l_core.specs.attacks import LossAttack, PIAAttack
from tests.adapter_cases import CASES, PROMPTS, WITH_TOKEN, Case, disturb, output, small, unchanged, weights_of, wider

ALL_PROMPTS = (*PROMPTS[:2], *WITH_TOKEN[:2])
MODULES = ("unet", "text_encoder", "vae")

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


def test_every_member_of_the_union_is_under_contract() -> None:
    union = get_args(get_args(AdapterSpec)[0])
    assert {type(spec) for case in CASES.values() for spec in case.adapters} == set(union)


@every_case
def test_saved_and_attached_again_it_gives_the_same_bits(model: StableDiffusion, case: Case, tmp_path: Path) -> None:
    plain = output(model, ALL_PROMPTS)
    with attach(model, case.adapters, seed=1) as on:
        disturb(on)
        moved = output(model, ALL_PROMPTS)
        assert torch.equal(moved, plain) == (case.still and not case.trained)
        save(on, tmp_path)
    assert torch.equal(output(model, ALL_PROMPTS), plain)
    with attach_saved(model, tmp_path) as again:
        assert torch.equal(output(model, ALL_PROMPTS), moved)
        assert (again.specs, again.seed) == (case.adapters, 1)
    with attached(model, tmp_path) as the_model:
        assert torch.equal(output(the_model, ALL_PROMPTS), moved)
    assert torch.equal(output(model, ALL_PROMPTS), plain)


@every_case
def test_attacks_give_the_same_scores_when_it_is_attached_again(model: StableDiffusion, case: Case, tmp_path: Path) -> None:
    before = scores(model)
    with attach(model, case.adapters, seed=1) as on:
        disturb(on)
        after = scores(model)
        save(on, tmp_path)
    with attached(model, tmp_path):
        again = scores(model)
    assert all(torch.equal(again[name], after[name]) for name in after)
    on_latents = any(not name.startswith("vae.") for name in on_names(model, case))
    assert any(not torch.equal(before[name], after[name]) for name in after) == (on_latents or not case.still)


def on_names(model: StableDiffusion, case: Case) -> list[str]:
    with attach(model, case.adapters, seed=1) as on:
        return list(on.parameters())


def scores(model: StableDiffusion) -> dict[str, torch.Tensor]:
    """Scores of four images under captions that hold the token."""
    specs = {"loss": LossAttack(timesteps=(100,), draws=1), "pia": PIAAttack()}
    x0 = keyed_noise((4, *model.latent_shape), "images")
    keys = [str(number) for number in range(4)]
    prompts = dict.fromkeys(specs, WITH_TOKEN)
    return run_attacks(specs, x0, keys, prompts, model.encode_text, model.eps, model.alphas_cumprod).scores


@every_case
def test_fresh_or_saved_without_a_step_it_is_the_baseline(model: StableDiffusion, case: Case, tmp_path: Path) -> None:
    plain = output(model)
    with attach(model, case.adapters, seed=1) as on:
        assert torch.equal(output(model), plain) == case.still
        save(on, tmp_path)
    with attached(model, tmp_path):
        assert torch.equal(output(model), plain) == case.still


@every_case
def test_an_exception_leaves_the_model_as_it_was(model: StableDiffusion, case: Case) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(model, case)
    # and the fixture compares


def interrupted(model: StableDiffusion, case: Case) -> None:
    with attach(model, case.adapters, seed=1) as on:
        on.train(True)
        disturb(on)
        output(model)
        raise KeyboardInterrupt


@every_case
def test_a_loss_in_between_leaves_no_gradient_on_the_model(model: StableDiffusion, case: Case) -> None:
    with attach(model, case.adapters, seed=1) as on:
        disturb(on)
        if on.parameters():
            loss(model).backward()
        with_gradient = {name for name, parameter in on.parameters().items() if parameter.grad is not None}
        assert len(with_gradient) >= 0.9 * len(on.parameters())  # biases before a normalisation may have none
        everywhere = sum(value.grad is not None for module in model.modules().values() for value in module.parameters())
        assert everywhere == len(with_gradient)


def loss(model: StableDiffusion) -> torch.Tensor:
    """Denoising with prompts that hold the tokens, and the autoencoder's reconstruction."""
    noise = keyed_noise((len(WITH_TOKEN), *model.latent_shape), "test")
    pixels = keyed_noise((1, 3, model.image_size, model.image_size), "pixels").clamp(-1, 1)
    denoised = model.eps(noise, torch.tensor([1, 2, 3, 4]), model.encode_text(WITH_TOKEN)).square().mean()
    return denoised + model.decode(model.encode_images(pixels, mode="sample", keys=["pixels"])).square().mean()


@every_case
def test_what_it_declares_requires_gradients_and_nothing_else_does(model: StableDiffusion, case: Case) -> None:
    model.vae.requires_grad_(True)  # whatever was asked for before
    with attach(model, case.adapters, seed=1) as on:
        declared = {id(parameter) for parameter in on.parameters().values()}
        wanting = {id(value) for module in model.modules().values() for value in module.parameters() if value.requires_grad}
        assert wanting == declared
        assert bool(declared) == bool(case.trained)
        assert all(any(part in name for part in case.trained) for name in on.parameters())
        assert all(any(part in name for name in on.parameters()) for part in case.trained)
        assert [on.trains(part) for part in MODULES] == [any(name.startswith(f"{part}.") for name in on.parameters()) for part in MODULES]
    assert all(value.requires_grad for value in model.vae.parameters())
    model.vae.requires_grad_(False)


@every_case
def test_weights_it_does_not_train_keep_their_bits(model: StableDiffusion, case: Case) -> None:
    before = weights_of(model)
    objects = {f"{part}.{name}": value for part, module in model.modules().items() for name, value in module.named_parameters()}
    with attach(model, case.adapters, seed=1) as on:
        disturb(on)
        declared = {id(parameter) for parameter in on.parameters().values()} | noisy(on)
        untouched = {name for name, value in objects.items() if id(value) not in declared}
        assert all(torch.equal(objects[name], before[name]) for name in untouched)
        assert len(untouched) == len(objects) - sum(id(value) in declared for value in objects.values())


def noisy(on: Attached) -> set[int]:
    """The weights that noise was added to."""
    if not isinstance(on.specs[0], GaussianAdapter):
        return set()
    named = {f"{part}.{name}": value for part, module in on.model.modules().items() for name, value in module.named_parameters()}
    return {id(named[name.removeprefix("sigma.")]) for name in on.files()["gaussian.safetensors"].tensors if name.startswith("sigma.")}


@every_case
def test_equal_adapters_are_equal_bytes(model: StableDiffusion, case: Case, tmp_path: Path) -> None:
    made = set()
    for time in range(
        8 if "lora" in [adapter.kind for adapter in case.adapters] else 2
    ):  # a header with two entries would come in either order
        folder = tmp_path / str(time)
        folder.mkdir()
        with attach(model, case.adapters, seed=1) as on:
            disturb(on)
            save(on, folder)
        made.add(tuple((path.relative_to(folder), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()))
    assert len(made) == 1


@every_case
def test_its_start_depends_on_the_seed_and_not_on_torchs_random_state(model: StableDiffusion, case: Case) -> None:
    states, outputs = [], []
    for seed, torch_seed in ((1, 10), (1, 11), (2, 10)):
        torch.manual_seed(torch_seed)
        with attach(model, case.adapters, seed=seed) as on:
            states.append({name: value.clone() for name, value in on.state().items()})
            outputs.append(output(model))
    same = [all(torch.equal(value, states[0][name]) for name, value in state.items()) for state in states]
    assert same == [True, True, not case.seeded]
    assert [torch.equal(one, outputs[0]) for one in outputs] == [True, True, case.still]


@every_case
def test_a_walk_through_double_precision_loses_nothing(model: StableDiffusion, case: Case, tmp_path: Path) -> None:
    with attach(model, case.adapters, seed=1) as on:
        disturb(on)
        save(on, tmp_path)
        single = output(model, ALL_PROMPTS)
    with attached(model, tmp_path):
        model.to(dtype=torch.float64)
        torch.testing.assert_close(output(model, ALL_PROMPTS).float(), single, rtol=1e-3, atol=1e-4)
        model.to(dtype=torch.float32)
        assert torch.equal(output(model, ALL_PROMPTS), single)


@pytest.mark.parametrize("case", [case for name, case in CASES.items() if name != "none"], ids=[name for name in CASES if name != "none"])
def test_an_adapter_of_another_base_is_refused(model: StableDiffusion, case: Case, tmp_path: Path) -> None:
    with attach(wider(), case.adapters, seed=1) as on:
        save(on, tmp_path)
    with pytest.raises(ValueError, match="the weights are for another base model"):
        attach_saved(model, tmp_path)


@pytest.mark.parametrize("case", [case for name, case in CASES.items() if name != "none"], ids=[name for name in CASES if name != "none"])
def test_an_adapter_of_another_base_of_the_same_shapes_is_refused_and_one_of_another_precision_is_not(
    model: StableDiffusion, case: Case, tmp_path: Path
) -> None:
    before = weights_of(model)
    with attach(small(seed=9), case.adapters, seed=1) as on:
        save(on, tmp_path / "other")
    with pytest.raises(ValueError, match="for another base model"):
        attach_saved(model, tmp_path / "other")
    assert all(torch.equal(value, before[name]) for name, value in weights_of(model).items())
    with attach(model, case.adapters, seed=1) as on:
        save(on, tmp_path / "same")
    rounded = small(seed=0)
    rounded.to(dtype=torch.float16)
    rounded.to(dtype=torch.float32)
    attach_saved(rounded, tmp_path / "same").detach()


@every_case
def test_adapter_json_names_the_adapters_and_the_seed_and_nothing_of_this_machine(
    model: StableDiffusion, case: Case, tmp_path: Path
) -> None:
    with attach(model, case.adapters, seed=7) as on:
        save(on, tmp_path)
    written = json.loads((tmp_path / "adapter.json").read_text())
    base = written.pop("base")
    assert written == {"adapters": [adapter.model_dump(mode="json") for adapter in case.adapters], "seed": 7}
    assert {name.partition(".")[0] for name in base} == {"unet", "text_encoder", "vae"}
    assert all(-6 < mark < 6 for mark in base.values())
    for path in tmp_path.rglob("*.safetensors"):
        header = path.read_bytes()[:20_000]
        assert str(tmp_path).encode() not in header
        assert b"version" not in header
