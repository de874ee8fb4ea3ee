"""Drawn sets: the image of diffusers' own pipeline, and image i the same however the set is cut."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from s2l_core.families.sd import StableDiffusion
from s2l_core.images import decode, to_uint8
from s2l_core.randomness import generator, keyed_noise
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec
from s2l_core.synthesize import prompt_of, sample_latents, synthesize
from tests.sd_models import sd_model

torch.set_num_threads(1)
PROMPTS = (PromptTemplate(text="photo of {name}", weight=3), PromptTemplate(text="face of {name}, {smiling}"))


def spec(**fields: Any) -> SynthesisSpec:
    return SynthesisSpec(**{"images": 5, "prompts": PROMPTS, "name": "Ann", "steps": 4, "guidance": 3.0, **fields})


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    return sd_model()


def pipeline(model: StableDiffusion, folder: Path, *, ddim: bool) -> Any:
    model.save(folder)
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    if ddim:
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({}, {}),
        ({"guidance": 7.5, "negative_prompt": "a blurred picture", "steps": 7}, {}),
        ({"guidance": 1.0}, {}),
        ({"guidance": 0.0}, {}),
        ({}, {"prediction_type": "v_prediction"}),
        ({}, {"prediction_type": "sample"}),
        ({"scheduler": "model", "steps": 6}, {}),
        ({"scheduler": "model"}, {"_class_name": "EulerDiscreteScheduler"}),
        ({"scheduler": "model"}, {"_class_name": "DPMSolverMultistepScheduler"}),
        ({"eta": 0.7}, {}),
    ],
    ids=["ddim", "negative", "guidance-1", "guidance-0", "v", "sample", "pndm", "euler", "dpm", "eta"],
)
def test_the_image_is_the_one_that_diffusers_pipeline_draws(fields: dict[str, Any], config: dict[str, Any], tmp_path: Path) -> None:
    model = sd_model(**config)
    wanted = spec(**fields)
    prompts = ["photo of Ann", "a cat on a mat"]
    noise = keyed_noise((2, *model.latent_shape), "initial")
    latents = sample_latents(model, prompts, noise, wanted, [generator("eta", index) for index in range(2)])
    expected = pipeline(model, tmp_path / "m", ddim=wanted.scheduler == "ddim")(
        prompts,
        negative_prompt=[wanted.negative_prompt] * 2,
        guidance_scale=wanted.guidance,
        num_inference_steps=wanted.steps,
        eta=wanted.eta,
        latents=noise.clone(),
        generator=[generator("eta", index) for index in range(2)],
        output_type="latent",
    ).images
    scale = float(expected.abs().max())
    assert torch.allclose(latents, expected, atol=2e-5 * max(1.0, scale)), float((latents - expected).abs().max())


def test_the_encoded_image_is_diffusers_image(model: StableDiffusion, tmp_path: Path) -> None:
    wanted = spec(images=2)
    drawn = list(synthesize(model, wanted))
    noise = torch.stack([keyed_noise(model.latent_shape, "latents", 0, index) for index in range(2)])
    theirs = pipeline(model, tmp_path / "m", ddim=True)(
        [record.text for record in drawn], guidance_scale=3.0, num_inference_steps=4, latents=noise, output_type="np"
    ).images
    for record, expected in zip(drawn, theirs, strict=True):
        assert np.abs(decode(record.image).astype(int) - (expected * 255).round()).max() <= 1


def test_without_guidance_the_unconditional_pass_is_skipped(model: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda latents, t, context: (rows.append(len(latents)), predict(latents, t, context))[1])
    for guidance, expected in ((0.0, 2), (1.0, 2), (1.5, 4)):
        rows.clear()
        list(synthesize(model, spec(images=2, guidance=guidance)))
        assert rows == [expected] * 4


@pytest.mark.parametrize("fields", [{}, {"eta": 1.0}], ids=["ddim", "eta"])
def test_an_image_depends_on_seed_and_index_and_on_the_batch_by_rounding_only(model: StableDiffusion, fields: dict[str, Any]) -> None:
    whole = list(synthesize(model, spec(**fields), batch_size=5))
    ones = list(synthesize(model, spec(**fields), batch_size=1))
    assert [(record.image_id, record.text, record.provenance) for record in whole] == [
        (record.image_id, record.text, record.provenance) for record in ones
    ]
    for one, other in zip(whole, ones, strict=True):
        assert np.abs(decode(one.image).astype(int) - decode(other.image)).max() <= 1
    assert len({record.content for record in whole}) == 5


def test_a_set_that_is_resumed_at_a_batch_has_the_same_bytes(model: StableDiffusion) -> None:
    whole = list(synthesize(model, spec(), batch_size=2))
    assert list(synthesize(model, spec(), stop=2, batch_size=2)) + list(synthesize(model, spec(), start=2, batch_size=2)) == whole
    assert list(synthesize(model, spec(), start=5)) == []


def test_a_longer_set_starts_with_the_shorter_one_and_another_seed_is_another_set(model: StableDiffusion) -> None:
    short, long = list(synthesize(model, spec(images=2), batch_size=2)), list(synthesize(model, spec(images=4), batch_size=2))
    assert long[:2] == short
    other = list(synthesize(model, spec(images=2, seed=1), batch_size=2))
    assert not {record.content for record in other} & {record.content for record in short}


def test_prompts_are_drawn_by_weight_per_image_and_kept_as_provenance(model: StableDiffusion) -> None:
    drawn = Counter(prompt_of(spec(), index) for index in range(4000))
    assert set(drawn) == {"photo of Ann", "face of Ann, {smiling}"}
    assert abs(drawn["photo of Ann"] / 4000 - 0.75) < 0.03
    record = next(iter(synthesize(model, spec(seed=3), start=4)))
    assert record.provenance == {"source": "synthesized", "prompt": prompt_of(spec(seed=3), 4), "index": 4, "seed": 3}
    assert (record.image_id, record.domain, record.member) == ("sp-3-000004", "Ann", None)


def test_progress_is_told_and_gradients_stay_as_the_caller_had_them(model: StableDiffusion) -> None:
    told: list[float] = []
    for _ in synthesize(model, spec(), start=1, batch_size=2, say=lambda fraction, words: told.append(fraction)):
        assert torch.is_grad_enabled()
    assert told == [0.5, 1.0]


def test_reduced_precision_draws_nearly_the_same_image(model: StableDiffusion) -> None:
    full = next(iter(synthesize(model, spec(images=1))))
    half = next(iter(synthesize(model, spec(images=1, precision="bf16"))))
    difference = np.abs(decode(full.image).astype(int) - decode(half.image))
    assert full.content != half.content
    assert difference.mean() < 4


def test_what_cannot_be_drawn_is_refused(model: StableDiffusion) -> None:
    with pytest.raises(ValueError, match="images 0 to 9 are asked for; the set has images 0 to 5"):
        list(synthesize(model, spec(), stop=9))
    with pytest.raises(ValueError, match="steps is 1001; the model was trained on 1000 timesteps"):
        list(synthesize(model, spec(steps=1001)))
    with pytest.raises(ValueError, match=r"eta is 0.5, which PNDMScheduler does not know; use scheduler: ddim"):
        list(synthesize(model, spec(scheduler="model", eta=0.5)))


def test_uint8_rounding_is_diffusers() -> None:
    pixels = torch.tensor([-1.0, -0.999, 0.0, 0.5, 1.0, 7.0]).reshape(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert to_uint8(pixels)[0, 0, :, 0].tolist() == [0, 0, 128, 191, 255, 255]
