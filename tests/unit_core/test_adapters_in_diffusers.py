"""What S2L saves, plain diffusers loads: the same image for the same seed, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from s2l_core.adapters import attach, save
from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, LoraAdapter
from tests.adapter_cases import HYPER, LORA, LORA_IN_VAE, TEXT, TOKEN, TOKENS, UNET, VAE, disturb, unchanged

PROMPT = "photo of <s2l> <S2L-b> ada"
WHOLE = DenseAdapter(modules=("unet", "text_encoder", "vae"))
CASES: dict[str, tuple[AdapterSpec, ...]] = {
    "dense unet": (UNET,),
    "dense text": (TEXT,),
    "dense vae": (VAE,),
    "dense, all of it": (WHOLE,),
    "lora": (LoraAdapter(rank=2, alpha=13),),
    "lora on the unet's convolutions": (LoraAdapter(rank=2, unet_targets=("conv1", "conv2", "to_out.0"), text_encoder_targets=()),),
    "lora on the text encoder": (LoraAdapter(rank=3, alpha=7.5, unet_targets=(), text_encoder_targets=("k_proj", "fc1")),),
    "lora on the autoencoder": (LORA_IN_VAE,),
    "lora on all three": (LoraAdapter(rank=2, vae_targets=("to_k", "conv_out")),),
    "token": (TOKEN,),
    "two tokens": (TOKENS,),
    "tokens and lora": (TOKENS, LORA),
    "tokens and dense": (TOKENS, DenseAdapter()),
    "dense below lora": (DenseAdapter(), LORA),
    "dense, tokens and lora": (WHOLE, TOKENS, LoraAdapter(rank=2, vae_targets=("to_k",))),
}


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


@pytest.mark.parametrize("adapters", CASES.values(), ids=CASES)
def test_diffusers_draws_what_we_draw(model: StableDiffusion, adapters: tuple[AdapterSpec, ...], tmp_path: Path) -> None:
    base, shaken = tmp_path / "base", tmp_path / "shaken"
    model.save(base)
    model.save(shaken)  # a copy of the base, over which dense files are laid
    with attach(model, adapters, seed=1) as on:
        disturb(on)
        save(on, shaken)
        ours = drawn(pipeline_of(base, model))
    assert torch.equal(drawn(loaded(base, shaken, adapters)), ours)
    assert not torch.equal(drawn(StableDiffusionPipeline.from_pretrained(base)), ours)


def pipeline_of(base: Path, model: StableDiffusion) -> Any:
    """Our networks in diffusers' own pipeline."""
    return StableDiffusionPipeline.from_pretrained(base, tokenizer=model.tokenizer, **model.modules())


def loaded(base: Path, shaken: Path, adapters: tuple[AdapterSpec, ...]) -> Any:
    """What a stranger does with the files, by what the method's page says."""
    kinds = {adapter.kind for adapter in adapters}
    pipeline = StableDiffusionPipeline.from_pretrained(shaken if "dense" in kinds else base)
    for path in sorted(shaken.glob("learned_embeds*.safetensors")):
        pipeline.load_textual_inversion(shaken, weight_name=path.name)
    if (shaken / "pytorch_lora_weights.safetensors").exists():
        pipeline.load_lora_weights(shaken)
    if (shaken / "vae_lora.safetensors").exists():
        pipeline.vae.load_lora_adapter(shaken, weight_name="vae_lora.safetensors", prefix=None)
    return pipeline


def drawn(pipeline: Any) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(PROMPT, num_inference_steps=3, generator=torch.Generator().manual_seed(0), output_type="pt")
    return torch.as_tensor(made.images)


def test_the_text_encoders_names_are_those_of_the_files_that_circulate(model: StableDiffusion, tmp_path: Path) -> None:
    """`text_model.` is in all files of Stable Diffusion; transformers 5.6 took it out of the module alone."""
    with attach(model, (TEXT, LORA), seed=1) as on:
        save(on, tmp_path)
    dense = load_file(tmp_path / "text_encoder" / "model.safetensors")
    lora = load_file(tmp_path / "pytorch_lora_weights.safetensors")
    assert "text_model.embeddings.token_embedding.weight" in dense
    assert "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight" in lora
    assert all(name.startswith("text_model.") for name in dense)
    assert all(name.startswith(("unet.", "text_encoder.text_model.")) for name in lora)


def test_a_dense_shake_laid_over_its_base_is_a_folder_that_we_load_too(model: StableDiffusion, tmp_path: Path) -> None:
    model.save(tmp_path)
    with attach(model, (WHOLE,), seed=1) as on:
        disturb(on)
        save(on, tmp_path)
        expected = {name: value.clone() for name, value in on.parameters().items()}
    again = StableDiffusion.load(tmp_path)
    found = {f"{part}.{name}": value for part, module in again.modules().items() for name, value in module.named_parameters()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_what_diffusers_cannot_read_does_not_hinder_it(model: StableDiffusion, tmp_path: Path) -> None:
    """A folder with files of all kinds: the pipeline picks its own."""
    model.save(tmp_path / "base")
    folder = tmp_path / "shake"
    folder.mkdir()
    with attach(model, (TOKEN, LoraAdapter(rank=2, vae_targets=("to_k",)), HYPER), seed=1) as on:
        disturb(on)
        save(on, folder)
        assert {path.name for path in folder.iterdir()} >= {"hypernetwork.safetensors", "vae_lora.safetensors", "adapter.json"}
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "base")
    without = drawn(pipeline)
    pipeline.load_textual_inversion(folder)
    pipeline.load_lora_weights(folder)
    assert not torch.equal(drawn(pipeline), without)
