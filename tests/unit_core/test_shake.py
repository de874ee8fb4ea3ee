"""The shake: what it trains on, what its loss is, and that it leaves the base as it was."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from s2l_core.adapters import attached, save
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord, to_pixels
from s2l_core.objectives import terms_of
from s2l_core.shake import denoising_loss, shake
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, LoraAdapter, NoAdapter
from s2l_core.specs.objectives import DenoiseObjective, DreamBoothObjective, ObjectiveSpec, PriorPreservation
from s2l_core.specs.pretrain import SmallShape
from s2l_core.specs.training import TrainSpec
from s2l_core.tiny.architecture import untrained
from s2l_core.training.errors import NumericalFailure
from s2l_core.training.fit import Batch, Curve

SHAPE = SmallShape(image_size=16, vae_channels=(8, 16), unet_channels=(16, 32), heads=2, text_width=16, text_layers=2, tokens=8)
TRAINING = TrainSpec(steps=4, batch_size=4, lr=1e-2)
DENOISE = DenoiseObjective()
LORA = (LoraAdapter(rank=2, alpha=2),)
DENSE = (DenseAdapter(),)
UNET = (DenseAdapter(modules=("unet",)),)
PRIOR = DreamBoothObjective(prior=PriorPreservation(weight=0.5, class_prompt="photo"))


def record(number: int, text: str) -> ImageRecord:
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return ImageRecord(f"image-{number}", buffer.getvalue(), text, "ada", None)


RECORDS = [record(number, ("photo of ada", "face of ada", "ada")[number % 3]) for number in range(6)]
CLASS = [record(number, "not used") for number in range(100, 103)]


@pytest.fixture(scope="module")
def shared() -> StableDiffusion:
    torch.set_num_threads(1)
    model = untrained(SHAPE, ["photo", "face", "of", "ada"], seed=0)
    for module in model.modules().values():
        module.eval().requires_grad_(False)
    return model


@pytest.fixture
def model(shared: StableDiffusion) -> Iterator[StableDiffusion]:
    before = bits(shared)
    yield shared
    assert bits(shared) == before


def bits(model: StableDiffusion) -> dict[str, tuple[bytes, bool]]:
    tensors = {
        f"{part}.{name}": value for part, module in model.modules().items() for name, value in module.state_dict(keep_vars=True).items()
    }
    return {name: (value.detach().numpy().tobytes(), value.requires_grad) for name, value in tensors.items()}


def shaken(
    model: StableDiffusion,
    adapters: tuple[AdapterSpec, ...] = LORA,
    objective: ObjectiveSpec = DENOISE,
    training: TrainSpec = TRAINING,
    seed: int = 1,
    micro_batch: int | None = None,
    records: list[ImageRecord] = RECORDS,
) -> tuple[dict[str, Tensor], Curve]:
    prior = CLASS if objective == PRIOR else None
    on, curve = shake(
        model,
        records,
        adapters=adapters,
        objective=objective,
        training=training,
        name="ada",
        seed=seed,
        prior=prior,
        micro_batch=micro_batch,
    )
    with on:
        return {name: value.clone() for name, value in on.state().items()}, curve


def whole(step: int, size: int) -> Batch:
    return Batch(step, torch.arange(size), torch.arange(size), size, seed=3)


@pytest.mark.parametrize("adapters", [LORA, DENSE, UNET], ids=["lora", "dense", "unet"])
@pytest.mark.parametrize("objective", [DenoiseObjective(), DreamBoothObjective(), PRIOR], ids=["denoise", "dreambooth", "prior"])
def test_every_method_trains_what_it_attached_and_repeats_itself_to_the_bit(
    model: StableDiffusion, adapters: tuple[AdapterSpec, ...], objective: ObjectiveSpec
) -> None:
    first, curve = shaken(model, adapters, objective)
    second, again = shaken(model, adapters, objective)
    untouched, _ = shaken(model, adapters, objective, TRAINING.model_copy(update={"steps": 0}))
    assert curve == again
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    moved = [name for name, value in first.items() if not torch.equal(value, untouched[name])]
    assert len(moved) == len(first)


def test_the_seed_changes_the_result(model: StableDiffusion) -> None:
    assert shaken(model, UNET, seed=1)[1] != shaken(model, UNET, seed=2)[1]


def test_the_loss_is_the_squared_error_of_the_noise_for_each_image_with_its_prompt(model: StableDiffusion) -> None:
    loss = denoising_loss(model, terms_of(DenoiseObjective(), RECORDS, name="ada"), text_is_trained=False)
    batch = whole(step=2, size=6)
    with torch.no_grad():
        ours = loss(batch)
        latents = model.encode_images(to_pixels(RECORDS, 16))
        t, noise = batch.integers(1000, "timestep of set"), batch.noise(model.latent_shape, "noise of set")
        abar = model.alphas_cumprod[t].float()[:, None, None, None]
        made = model.eps(abar.sqrt() * latents + (1 - abar).sqrt() * noise, t, model.encode_text([one.text for one in RECORDS]))
        torch.testing.assert_close(ours, (made - noise).square().mean(dim=(1, 2, 3)), rtol=1e-4, atol=1e-6)
    assert len(set(t.tolist())) == 6


def test_prior_preservation_adds_the_weighted_loss_of_class_images(model: StableDiffusion) -> None:
    with torch.no_grad():
        both, alone = (
            denoising_loss(model, terms_of(objective, RECORDS, name="ada", prior=prior), text_is_trained=False)(whole(0, 3))
            for objective, prior in ((PRIOR, CLASS), (DreamBoothObjective(), None))
        )
        drawn = whole(0, 3).others(3, "class")
        chosen = [replace(CLASS[place], text="photo") for place in drawn.tolist()]
        term = replace(terms_of(DenoiseObjective(), chosen, name="ada")[0], name="class")
        added = denoising_loss(model, [term], text_is_trained=False)(whole(0, 3))
    assert sorted(drawn.tolist()) == [0, 1, 2]
    torch.testing.assert_close(both, alone + 0.5 * added)


@pytest.mark.parametrize("objective", [DenoiseObjective(), DreamBoothObjective(), PRIOR], ids=["denoise", "dreambooth", "prior"])
def test_text_encoded_again_at_each_step_gives_the_loss_of_cached_text(model: StableDiffusion, objective: ObjectiveSpec) -> None:
    terms = terms_of(objective, RECORDS, name="ada", prior=CLASS if objective == PRIOR else None)
    with torch.no_grad():
        cached, again = (denoising_loss(model, terms, text_is_trained=trained)(whole(0, 6)) for trained in (False, True))
    torch.testing.assert_close(cached, again)


def test_a_frozen_text_encoder_and_the_autoencoder_are_asked_once(model: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"text": 0, "images": 0}
    text, images = model.encode_text, model.encode_images
    monkeypatch.setattr(model, "encode_text", lambda prompts: calls.update(text=calls["text"] + 1) or text(prompts))
    monkeypatch.setattr(model, "encode_images", lambda pixels: calls.update(images=calls["images"] + 1) or images(pixels))
    shaken(model, UNET)
    assert calls == {"text": 3, "images": 1}  # three distinct prompts
    shaken(model, DENSE)
    assert calls == {"text": 3 + TRAINING.steps, "images": 2}


@pytest.mark.parametrize("adapters", [LORA, DENSE], ids=["lora", "dense"])
@pytest.mark.parametrize("objective", [DenoiseObjective(), PRIOR], ids=["denoise", "prior"])
def test_micro_batches_change_nothing_but_rounding(
    model: StableDiffusion, adapters: tuple[AdapterSpec, ...], objective: ObjectiveSpec
) -> None:
    # a step of AdamW is as large for a tiny gradient as for a large one; a large eps keeps rounding small
    training = TRAINING.model_copy(update={"eps": 1e-2})
    (first, curve), (second, cut) = (shaken(model, adapters, objective, training, micro_batch=size) for size in (None, 3))
    assert cut.loss == pytest.approx(curve.loss, rel=1e-4)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=1e-5)


def test_none_trains_nothing_and_needs_no_step(model: StableDiffusion) -> None:
    assert shaken(model, (NoAdapter(),)) == ({}, Curve())


def test_zero_steps_give_the_base_to_the_bit(model: StableDiffusion, tmp_path: Path) -> None:
    x, t, context = torch.ones(1, *model.latent_shape), torch.tensor([10]), model.encode_text(["ada"])
    plain = model.eps(x, t, context)
    on, _ = shake(
        model, RECORDS, adapters=LORA, objective=DenoiseObjective(), training=TrainSpec(steps=0), name="ada", seed=0
    )  # fmt: skip
    with on:
        save(on, tmp_path)
    with attached(model, tmp_path), torch.no_grad():
        assert torch.equal(model.eps(x, t, model.encode_text(["ada"])), plain)


def test_a_shake_that_diverges_leaves_the_base_as_it_was(model: StableDiffusion) -> None:
    with pytest.raises(NumericalFailure, match="at step"):
        shaken(model, UNET, training=TrainSpec(steps=20, batch_size=2, lr=1e30, clip_norm=None))


def test_a_bad_adapter_is_refused_before_training_and_leaves_the_base_as_it_was(model: StableDiffusion) -> None:
    with pytest.raises(ValueError, match="rank 99 is larger than"):
        shaken(model, (LoraAdapter(rank=99),))
    with pytest.raises(ValueError, match="there is nothing to fine-tune ada on"):
        shaken(model, records=[])


def test_bf16_trains_close_to_fp32(model: StableDiffusion) -> None:
    half = TRAINING.model_copy(update={"precision": "bf16"})
    (first, curve), (second, rough) = shaken(model, UNET), shaken(model, UNET, training=half)
    assert rough.loss == pytest.approx(curve.loss, rel=0.1)
    assert rough.loss != curve.loss
    assert all(value.dtype == torch.float32 for value in second.values())
    assert all(math.isfinite(float(value.sum())) for value in first.values())
