"""LoRA: alpha / rank * B A on what is named, nothing on what is not, and clear words when it does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from s2l_core.adapters import Attached, attach
from s2l_core.attacks.engine import run_attacks
from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import keyed_noise
from s2l_core.specs.adapters import DenseAdapter, LoraAdapter
from s2l_core.specs.attacks import LossAttack, SecMIAttack
from tests.adapter_cases import CASES, PROMPTS, disturb, output, unchanged, weights_of

EVERYWHERE = LoraAdapter(
    rank=3, alpha=5, unet_targets=("to_q", "conv1", "proj_in"), text_encoder_targets=("fc1",), vae_targets=("to_k", "conv_in")
)


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


def test_a_layer_adds_alpha_over_rank_times_b_a(model: StableDiffusion) -> None:
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    x = keyed_noise((3, 16), "x")
    plain = model.unet.get_submodule(layer)(x)
    with attach(model, (LoraAdapter(rank=4, alpha=10),), seed=1) as on:
        disturb(on)
        down, up = (on.parameters()[f"unet.{layer}.lora_{side}.weight"] for side in "AB")
        assert (down.shape, up.shape) == ((4, 16), (16, 4))
        torch.testing.assert_close(model.unet.get_submodule(layer)(x), plain + 10 / 4 * x @ down.T @ up.T)


def test_dropout_works_while_it_trains_and_only_then(model: StableDiffusion) -> None:
    with attach(model, CASES["lora convolutions, dropout"].adapters, seed=1) as on:
        disturb(on)
        still = output(model)
        assert torch.equal(output(model), still)
        on.train(True)
        assert not torch.equal(output(model), still)
        on.train(False)
        assert torch.equal(output(model), still)


def test_an_autoencoders_lora_changes_what_it_encodes_and_decodes(model: StableDiffusion) -> None:
    pixels, latents = keyed_noise((1, 3, 16, 16), "pixels"), keyed_noise((1, *model.latent_shape), "latents")
    before = (model.encode_images(pixels), model.decode(latents))
    with attach(model, CASES["lora vae"].adapters, seed=1) as on:
        disturb(on)
        assert not torch.equal(model.encode_images(pixels), before[0])
        assert not torch.equal(model.decode(latents), before[1])


# --- merged ---


def merge(on: Attached, *, into: bool) -> None:
    """What peft does to put an update into the weights, and to take it out."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in on.model.modules().values():
        for layer in module.modules():
            if isinstance(layer, BaseTunerLayer):
                layer.merge() if into else layer.unmerge()


def scores(model: StableDiffusion) -> dict[str, torch.Tensor]:
    specs = {"loss": LossAttack(timesteps=(100, 300), draws=1), "secmi": SecMIAttack(t=20)}
    x0 = keyed_noise((4, *model.latent_shape), "images")
    prompts = dict.fromkeys(specs, PROMPTS)
    return run_attacks(specs, x0, [str(n) for n in range(4)], prompts, model.encode_text, model.eps, model.alphas_cumprod).scores


def test_merged_and_unmerged_give_the_same_scores(model: StableDiffusion) -> None:
    base = {part: {name: value.clone() for name, value in module.state_dict().items()} for part, module in model.modules().items()}
    before = scores(model)
    with attach(model, (EVERYWHERE,), seed=1) as on:
        disturb(on)
        unmerged, drawn = scores(model), output(model)
        merge(on, into=True)
        torch.testing.assert_close(output(model), drawn, rtol=1e-4, atol=1e-5)
        merged = scores(model)
        merge(on, into=False)
    for name in before:
        torch.testing.assert_close(merged[name], unmerged[name], rtol=2e-3, atol=0)
        assert not torch.allclose(before[name], unmerged[name], rtol=2e-2, atol=0)
    for part, module in model.modules().items():
        module.load_state_dict(base[part])  # peft's way back loses the last bits


def test_the_norm_of_its_change_is_that_of_the_merged_weights(model: StableDiffusion) -> None:
    base = {part: {name: value.clone() for name, value in module.state_dict().items()} for part, module in model.modules().items()}
    before = weights_of(model)
    with attach(model, (EVERYWHERE,), seed=1) as on:
        assert on.change_norm() == 0
        disturb(on)
        merge(on, into=True)
        after = {name.replace(".base_layer.", "."): value for name, value in weights_of(model).items() if ".lora_" not in name}
        moved = math.sqrt(sum(float((after[name].double() - value.double()).square().sum()) for name, value in before.items()))
        merge(on, into=False)
        assert on.change_norm() == pytest.approx(moved, rel=1e-5)
    for part, module in model.modules().items():
        module.load_state_dict(base[part])


def test_a_weight_that_dense_and_lora_change_counts_with_the_sum_of_both(model: StableDiffusion) -> None:
    lora = LoraAdapter(rank=2, alpha=2, unet_targets=("to_q",), text_encoder_targets=())
    with attach(model, (DenseAdapter(modules=("unet",)), lora), seed=1) as on, torch.no_grad():
        layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
        down, up = (on.parameters()[f"{layer}.lora_{side}.weight"] for side in "AB")
        up.copy_(keyed_noise(up.shape, "up"))
        alone = on.change_norm()
        on.parameters()[f"{layer}.weight"].sub_(up @ down)  # dense takes back what LoRA adds
        assert alone > 0.1
        assert on.change_norm() == pytest.approx(0, abs=1e-5)


# --- what does not fit ---


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (LoraAdapter(unet_targets=("to_w",), rank=1), r"no projection of the unet is called 'to_w'; the nearest are to_v, to_q, to_k"),
        (
            LoraAdapter(text_encoder_targets=("vproj",), rank=1),
            r"no projection of the text_encoder is called 'vproj'; the nearest are v_proj",
        ),
        (LoraAdapter(vae_targets=("to_quay",), rank=1), r"no projection of the vae is called 'to_quay'; the nearest are \w+"),
        (
            LoraAdapter(unet_targets=("0",), rank=1),
            r"'0' names unet\.\S+ \(\w+\) too, which is no projection; give more of the name, such as \S+\.0$",
        ),
        (LoraAdapter(unet_targets=("norm1",), rank=1), r"no projection of the unet is called 'norm1'"),
        (LoraAdapter(rank=17), r"rank 17 is larger than unet\.\S+to_q, whose rank is 16 at most; give a rank of 1 to 16"),
        (
            LoraAdapter(unet_targets=(), text_encoder_targets=(), vae_targets=("conv_in",), rank=9),
            r"rank 9 is larger than vae\.encoder\.conv_in, whose rank is 8 at most",
        ),
        (
            LoraAdapter(unet_targets=(), text_encoder_targets=(), vae_targets=("to_k",), rank=17),
            r"rank 17 is larger than vae\.\S+to_k, whose rank is 16 at most",
        ),
        (LoraAdapter(unet_targets=(), text_encoder_targets=()), r"a LoRA needs at least one target; got none for the unet"),
    ],
)
def test_one_that_does_not_fit_is_refused_and_says_what_does(model: StableDiffusion, spec: LoraAdapter, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attach(model, (spec,), seed=0)


def test_what_peft_refuses_half_way_leaves_nothing_behind(model: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    import peft

    inject = peft.inject_adapter_in_model

    def second_time_fails(config: object, module: torch.nn.Module, adapter_name: str) -> None:
        if module is model.text_encoder:
            raise ValueError("peft knows no such layer")
        inject(config, module, adapter_name=adapter_name)

    monkeypatch.setattr(peft, "inject_adapter_in_model", second_time_fails)
    with pytest.raises(ValueError, match="peft knows no such layer"):
        attach(model, (LoraAdapter(rank=1),), seed=0)
    # and the fixture compares


def test_a_convolutions_rank_counts_its_kernel(model: StableDiffusion) -> None:
    """conv_in sees 3 channels of 3 x 3 pixels, 27 numbers, and gives 8: rank 8, not 3."""
    spec = LoraAdapter(unet_targets=(), text_encoder_targets=(), vae_targets=("encoder.conv_in",), rank=8)
    with attach(model, (spec,), seed=0) as on:
        disturb(on)
        (change,) = on._parts[0].change().values()
        assert change().shape == (8, 3, 3, 3)
        assert torch.linalg.matrix_rank(change().flatten(1)) == 8
