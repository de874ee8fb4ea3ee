"""The shake: what it trains on, what it refuses, and that it leaves the base as it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from s2l_core.adapters import attached, save
from s2l_core.families.sd import StableDiffusion
from s2l_core.shake import shake
from s2l_core.specs.adapters import AdapterSpec, DenseAdapter, GaussianAdapter, LoraAdapter, NoAdapter, TextualInversionAdapter
from s2l_core.specs.objectives import DenoiseObjective, DreamBoothObjective, EndToEndObjective, ObjectiveSpec, TemplatesObjective
from s2l_core.specs.training import TrainSpec
from s2l_core.training.errors import NumericalFailure
from s2l_core.training.fit import Curve
from tests.adapter_cases import CASES, unchanged
from tests.fit_cases import Kept
from tests.shake_cases import ALL, DENOISE, DENSE, LORA, PRIOR, RECORDS, TRAINING, UNET, objective_for, shaken

TRAINED = {name: case.adapters for name, case in CASES.items() if case.trained}
WITHOUT_DROPOUT = {name: found for name, found in TRAINED.items() if not any(getattr(one, "dropout", 0) for one in found)}
OBJECTIVES = {
    "denoise": DENOISE,
    "dreambooth": DreamBoothObjective(),
    "prior": PRIOR,
    "templates": TemplatesObjective(templates=("photo of {name}", "face of {name}")),
}
TOKEN = (TextualInversionAdapter(),)
E2E = EndToEndObjective()

every_adapter = pytest.mark.parametrize("adapters", TRAINED.values(), ids=TRAINED)


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


# --- all adapters ---


@every_adapter
def test_every_adapter_trains_all_that_it_attached_and_repeats_itself_to_the_bit(
    model: StableDiffusion, adapters: tuple[AdapterSpec, ...]
) -> None:
    objective = objective_for(adapters)
    first, curve = shaken(model, adapters, objective)
    second, again = shaken(model, adapters, objective)
    untouched, _ = shaken(model, adapters, objective, TRAINING.model_copy(update={"steps": 0}))
    assert curve == again
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    still = [name for name, value in first.items() if torch.equal(value, untouched[name])]
    assert not still


@pytest.mark.parametrize("adapters", WITHOUT_DROPOUT.values(), ids=WITHOUT_DROPOUT)
def test_micro_batches_change_nothing_but_rounding(model: StableDiffusion, adapters: tuple[AdapterSpec, ...]) -> None:
    # a step of AdamW is as large for a tiny gradient as for a large one; a large eps keeps rounding small
    training = TRAINING.model_copy(update={"eps": 1e-2})
    (first, curve), (second, cut) = (shaken(model, adapters, objective_for(adapters), training, micro_batch=size) for size in (None, 3))
    assert cut.loss == pytest.approx(curve.loss, rel=1e-4)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=1e-5)


@every_adapter
def test_a_shake_stopped_in_the_middle_goes_on_to_the_same_bits(
    model: StableDiffusion, adapters: tuple[AdapterSpec, ...], tmp_path: Path
) -> None:
    training = TRAINING.model_copy(update={"ema": 0.5, "snr_gamma": 5.0})
    whole, curve = shaken(model, adapters, objective_for(adapters), training)

    def stop(fraction: float, words: str) -> None:
        if fraction > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shaken(model, adapters, objective_for(adapters), training, checkpoint=Kept(tmp_path / "kept"), say=stop)
    told: list[float] = []
    resumed, again = shaken(
        model, adapters, objective_for(adapters), training, checkpoint=Kept(tmp_path / "kept"), say=lambda done, words: told.append(done)
    )
    assert told == [0.75, 1.0]
    assert again == curve
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@every_adapter
def test_a_shake_that_diverges_leaves_the_base_as_it_was(model: StableDiffusion, adapters: tuple[AdapterSpec, ...]) -> None:
    with pytest.raises(NumericalFailure, match="at step"):
        shaken(model, adapters, objective_for(adapters), TrainSpec(steps=20, batch_size=2, lr=1e30, clip_norm=None))


@pytest.mark.parametrize("adapters", [LORA, DENSE, TOKEN], ids=["lora", "dense", "token"])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_objective_trains_and_repeats_itself_to_the_bit(
    model: StableDiffusion, adapters: tuple[AdapterSpec, ...], objective: ObjectiveSpec
) -> None:
    (first, curve), (second, again) = shaken(model, adapters, objective), shaken(model, adapters, objective)
    assert curve == again
    assert len(curve.loss) == TRAINING.steps
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_seed_changes_the_result(model: StableDiffusion) -> None:
    assert shaken(model, UNET, seed=1)[1] != shaken(model, UNET, seed=2)[1]


# --- what is encoded once ---


def test_a_frozen_text_encoder_and_a_frozen_autoencoder_are_asked_once(model: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"text": 0, "images": 0}
    text, images = model.encode_text, model.vae.encode
    monkeypatch.setattr(model, "encode_text", lambda prompts: calls.update(text=calls["text"] + 1) or text(prompts))
    monkeypatch.setattr(model.vae, "encode", lambda pixels: calls.update(images=calls["images"] + 1) or images(pixels))
    shaken(model, UNET)
    assert calls == {"text": 3, "images": 1}  # three distinct prompts
    shaken(model, DENSE)
    assert calls == {"text": 3 + TRAINING.steps, "images": 2}
    shaken(model, ALL, E2E)
    assert calls == {"text": 3 + 2 * TRAINING.steps, "images": 2 + TRAINING.steps}
    monkeypatch.undo()
    model.vae.__dict__.pop("encode", None)


# --- tokens ---


def test_with_a_token_trained_the_prompts_of_the_set_hold_it_in_the_place_of_the_name(
    model: StableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    text = model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda prompts: seen.update(prompts) or text(prompts))
    shaken(model, TOKEN, DENOISE)
    assert seen == {"photo of <s2l>", "face of <s2l>", "<s2l>"}
    seen.clear()
    shaken(model, TOKEN, PRIOR)
    assert seen == {"photo of <s2l>", "photo"}


def test_a_token_that_stands_in_no_prompt_is_refused(model: StableDiffusion) -> None:
    strangers = [replace(record, text="photo of bob") for record in RECORDS]
    with pytest.raises(ValueError, match="holds the name 'ada', so that <s2l> has no place in them"):
        shaken(model, TOKEN, records=strangers)
    shaken(model, LORA, records=strangers)


# --- the autoencoder ---


def test_the_autoencoder_is_trained_by_its_own_objective_alone(model: StableDiffusion) -> None:
    with pytest.raises(ValueError, match=r"objective end-to-end trains the autoencoder, which the adapters \(dense\) leave as it is; add"):
        shaken(model, DENSE, E2E)
    for objective in (DENOISE, DreamBoothObjective()):
        with pytest.raises(ValueError, match=rf"\(dense\) train the vae, for which objective {objective.kind} has no loss; use objective"):
            shaken(model, ALL, objective)


# --- nothing to train ---


@pytest.mark.parametrize("adapter", [NoAdapter(), GaussianAdapter(sigma=0.1)], ids=["none", "gaussian"])
def test_what_trains_nothing_needs_no_images(model: StableDiffusion, adapter: AdapterSpec) -> None:
    without, curve = shaken(model, (adapter,), records=[])
    given, _ = shaken(model, (adapter,))
    assert curve == Curve()
    assert all(torch.equal(value, given[name]) for name, value in without.items())


def test_noise_is_as_long_as_it_is_told(model: StableDiffusion) -> None:
    adapters = (GaussianAdapter(sigma="match"),)
    found = shake(model, [], adapters=adapters, objective=DENOISE, training=TRAINING, name="ada", seed=1, match_norms={"unet": 0.7})
    with found.on as on:
        assert on.change_norm() == pytest.approx(0.7, rel=1e-5)


def test_zero_steps_give_the_base_to_the_bit(model: StableDiffusion, tmp_path: Path) -> None:
    x, t, context = torch.ones(1, *model.latent_shape), torch.tensor([10]), model.encode_text(["ada"])
    plain = model.eps(x, t, context)
    found = shake(model, RECORDS, adapters=LORA, objective=DenoiseObjective(), training=TrainSpec(steps=0), name="ada", seed=0)
    with found.on as on:
        save(on, tmp_path)
    with attached(model, tmp_path), torch.no_grad():
        assert torch.equal(model.eps(x, t, model.encode_text(["ada"])), plain)


# --- refusals and precision ---


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


@pytest.mark.parametrize("modules", [("vae",), ("unet", "vae")])
def test_end_to_end_trains_the_autoencoder_in_any_company(model: StableDiffusion, modules: tuple[str, ...]) -> None:
    adapters = (DenseAdapter.model_validate({"modules": modules}),)
    found, _ = shaken(model, adapters, E2E)
    assert {name.partition("/")[0] for name in found} == set(modules)
