"""DP-SGD: that the noise is there, that clipping bounds each example, and that the stated epsilon is Opacus's."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from s2l_core.adapters import attach
from s2l_core.defences import Scene, Setup, defend
from s2l_core.defences.accounting import epsilon_of, noise_multiplier_for
from s2l_core.defences.private_gradient import name_of_fit, poisson
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord
from s2l_core.objectives import terms_of
from s2l_core.shake import shake
from s2l_core.specs.adapters import AdapterSpec
from s2l_core.specs.defences import ClipNoiseDefence, DpDefence
from s2l_core.specs.training import TrainSpec
from s2l_core.training.accelerated import Accelerated
from s2l_core.training.batch import Batch
from tests.adapter_cases import CASES, unchanged
from tests.fit_cases import Kept
from tests.shake_cases import DENOISE, LORA, PRIOR, RECORDS, TRAINING, UNET, objective_for, shaken

TRAINED = {name: case.adapters for name, case in CASES.items() if case.trained}
WITHOUT_DROPOUT = {name: found for name, found in TRAINED.items() if not any(getattr(one, "dropout", 0) for one in found)}
EACH_KIND = ("dense all", "lora convolutions, dropout", "two tokens from a word", "dense, token, lora, hypernetwork")
DP = DpDefence(noise_multiplier=0.8, clip=0.5)
SILENT = ClipNoiseDefence(clip=1e30, noise_multiplier=0)

every_adapter = pytest.mark.parametrize("adapters", TRAINED.values(), ids=TRAINED)


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


def moved(model: StableDiffusion, adapters: tuple[AdapterSpec, ...], training: TrainSpec = TRAINING, **options: Any) -> dict[str, Tensor]:
    """By how much each tensor differs from where it began."""
    options = {"objective": objective_for(adapters), **options}
    after, _ = shaken(model, adapters, training=training, **options)
    before, _ = shaken(model, adapters, training=training.model_copy(update={"steps": 0}), objective=options["objective"])
    return {name: value - before[name] for name, value in after.items()}


# --- every adapter ---


@every_adapter
def test_all_weights_change_under_dp_and_the_noise_is_in_every_one_of_them(
    model: StableDiffusion, adapters: tuple[AdapterSpec, ...]
) -> None:
    rough = TRAINING.model_copy(update={"steps": 2, "eps": 1.0, "weight_decay": 0.0})
    first = moved(model, adapters, rough, defence=DP)
    assert all(bool(change.any()) for change in first.values())
    plain = moved(model, adapters, rough, defence=DP.model_copy(update={"noise_multiplier": 1e-9}))
    assert not any(torch.allclose(change, plain[name], rtol=1e-2, atol=1e-9) for name, change in first.items())


@pytest.mark.parametrize("adapters", WITHOUT_DROPOUT.values(), ids=WITHOUT_DROPOUT)
def test_without_noise_and_with_no_bound_it_is_plain_training(model: StableDiffusion, adapters: tuple[AdapterSpec, ...]) -> None:
    training = TRAINING.model_copy(update={"steps": 2, "eps": 1e-2, "clip_norm": None})
    objective = objective_for(adapters)
    (plain, curve), (defended, again) = (shaken(model, adapters, objective, training, defence=defence) for defence in (None, SILENT))
    assert again.loss == pytest.approx(curve.loss, rel=1e-4)
    assert again.grad_norm == pytest.approx(curve.grad_norm, rel=1e-3)
    for name, value in plain.items():
        torch.testing.assert_close(defended[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("adapters", [TRAINED[name] for name in EACH_KIND], ids=EACH_KIND)
def test_a_private_shake_stopped_in_the_middle_goes_on_to_the_same_bits(
    model: StableDiffusion, adapters: tuple[AdapterSpec, ...], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"objective": objective_for(adapters), "defence": DP}
    whole, curve = shaken(model, adapters, **options)

    def stop(fraction: float, words: str) -> None:
        if fraction > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shaken(model, adapters, checkpoint=Kept(tmp_path / "kept"), say=stop, **options)
    told: list[float] = []
    resumed, again = shaken(model, adapters, checkpoint=Kept(tmp_path / "kept"), say=lambda done, words: told.append(done), **options)
    assert told == [0.75, 1.0]
    assert again == curve
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_private_shake_trains_on_poisson_samples_and_has_no_second_clipping(model: StableDiffusion) -> None:
    with attach(model, LORA, seed=0) as on:
        scene, plain = Scene(model, on, seed=7), Setup(terms_of(DENOISE, RECORDS, name="ada"), TRAINING)
        setup = defend(plain, DP, scene)
    sampler = setup.sampler
    expected = poisson(len(RECORDS), TRAINING.batch_size / len(RECORDS), seed=7, fit=name_of_fit(plain, scene))
    assert sampler is not None
    assert all(torch.equal(sampler(step), expected(step)) for step in range(20))
    assert TRAINING.clip_norm is not None
    assert setup.training == TRAINING.model_copy(update={"clip_norm": None})
    assert max(shaken(model, LORA, defence=DP.model_copy(update={"noise_multiplier": 50.0}))[1].grad_norm) > 10


def test_fits_of_one_seed_share_no_noise_unless_they_are_the_same_fit(model: StableDiffusion) -> None:
    def drawn(records: list[ImageRecord], training: TrainSpec = TRAINING) -> tuple[Tensor, Tensor]:
        with attach(model, LORA, seed=0) as on:
            setup = defend(Setup(terms_of(DENOISE, records, name="ada"), training), DP, Scene(model, on, seed=7))
            batch = Batch(0, torch.arange(0), torch.arange(0), 0, seed=7, population=len(records))
            assert setup.gradient is not None
            assert setup.sampler is not None
            with Accelerated(list(on.parameters().values()), training, "cpu") as run:
                setup.gradient(run, lambda batch: torch.zeros(0), batch)  # an empty batch: noise alone
                noise = torch.cat([parameter.grad.flatten() for parameter in on.parameters().values() if parameter.grad is not None])
            return noise, torch.cat([setup.sampler(step) for step in range(20)])

    noise, batches = drawn(RECORDS)
    for other in (drawn(RECORDS[:-1]), drawn(RECORDS, TRAINING.model_copy(update={"lr": 2 * TRAINING.lr}))):
        assert abs(float(torch.corrcoef(torch.stack([noise, other[0]]))[0, 1])) < 0.2
        assert not torch.equal(batches, other[1])
    again = drawn(RECORDS)
    assert torch.equal(again[0], noise)
    assert torch.equal(again[1], batches)


def test_class_images_and_half_precision_go_with_it(model: StableDiffusion) -> None:
    half = TRAINING.model_copy(update={"precision": "bf16"})
    for adapters in (LORA, UNET):
        found, curve = shaken(model, adapters, PRIOR, half, defence=DP)
        assert len(curve.loss) == TRAINING.steps
        assert all(bool(torch.isfinite(value).all()) for value in found.values())


# --- epsilon ---


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_the_stated_epsilon_is_opacus_accountants_step_by_step(model: StableDiffusion, accountant: str) -> None:
    from opacus.accountants import create_accountant

    defence = DpDefence.model_validate({"noise_multiplier": 1.1, "delta": 1e-3, "accountant": accountant})
    found = shake(model, RECORDS, adapters=LORA, objective=objective_for(LORA), training=TRAINING, name="ada", seed=1, defence=defence)
    found.on.detach()
    theirs = create_accountant(mechanism=accountant)
    for _ in range(TRAINING.steps):
        theirs.step(noise_multiplier=1.1, sample_rate=4 / 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found.facts["epsilon"] == pytest.approx(theirs.get_epsilon(delta=1e-3), rel=1e-12)


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_a_budget_gives_the_least_noise_that_keeps_it(accountant: Any) -> None:
    known: dict[str, Any] = {"delta": 1e-5, "sample_rate": 4 / 64, "steps": 100, "accountant": accountant}
    noise = noise_multiplier_for(3.0, **known)
    assert 2.98 < epsilon_of(noise, **known) <= 3.0
    assert epsilon_of(noise * 0.98, **known) > 3.0


def test_the_facts_say_what_was_spent_and_what_it_protects(model: StableDiffusion) -> None:
    defence = DpDefence(epsilon=4.0, delta=1e-3, clip=0.5)
    found = shake(model, RECORDS, adapters=LORA, objective=objective_for(LORA), training=TRAINING, name="ada", seed=1, defence=defence)
    found.on.detach()
    facts = json.loads(json.dumps(found.facts, allow_nan=False))
    assert 3.9 < facts["epsilon"] <= 4.0 == facts["target_epsilon"]
    assert facts["noise_multiplier"] > 0.3
    assert (facts["steps"], facts["images"], facts["sample_rate"], facts["clip"]) == (4, 6, 4 / 6, 0.5)
    assert "protects the images that the model was fine-tuned on (the SP set)" in facts["protects"]
    assert "says nothing about the images that the base model was pre-trained on" in facts["protects"]
    assert "not about the loss curve" in facts["conditions"]
    assert found.curve.step == [0, 1, 2, 3]


def test_no_step_spends_nothing(model: StableDiffusion) -> None:
    still = TRAINING.model_copy(update={"steps": 0})
    found = shake(
        model, RECORDS, adapters=LORA, objective=objective_for(LORA), training=still, name="ada", seed=1, defence=DpDefence(epsilon=1.0)
    )
    found.on.detach()
    assert found.facts["epsilon"] == 0.0


def test_the_contrast_without_accounting_states_no_epsilon(model: StableDiffusion) -> None:
    defence = ClipNoiseDefence(clip=0.5, noise_multiplier=1.0)
    found = shake(model, RECORDS, adapters=LORA, objective=objective_for(LORA), training=TRAINING, name="ada", seed=1, defence=defence)
    found.on.detach()
    assert found.facts["epsilon"] is None
    assert "no epsilon can be stated" in found.facts["protects"]


# --- refusals ---


@pytest.mark.parametrize(("given", "text"), [({}, "got neither"), ({"epsilon": 1, "noise_multiplier": 1}, "got epsilon and noise_multip")])
def test_a_budget_or_a_noise_is_given_and_not_both(given: dict[str, float], text: str) -> None:
    with pytest.raises(ValidationError, match=f"give exactly one of epsilon and noise_multiplier; {text}"):
        DpDefence.model_validate(given)


@pytest.mark.parametrize(
    ("defence", "training", "text"),
    [
        (DP.model_copy(update={"delta": 0.5}), {}, "delta is 0.5 and the set has 6 images: publishing one of them outright"),
        (DP, {"batch_size": 7}, "samples batches of 7 from 6 images; give a batch_size of at most 6"),
        (DpDefence(epsilon=1e-6), {}, "no noise reaches epsilon 1e-06 at delta 1e-05 in 4 steps"),
        (DpDefence(epsilon=60, accountant="prv"), {}, "the prv accountant is for at most 50; use accountant rdp"),
        (DpDefence(noise_multiplier=0.1, accountant="prv"), {}, "the prv accountant is for at most 50; use accountant rdp"),
    ],
)
def test_what_cannot_be_accounted_for_is_refused_before_training(
    model: StableDiffusion, defence: DpDefence, training: dict[str, int], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        shaken(model, LORA, training=TRAINING.model_copy(update=training), defence=defence, say=must_not_train)


@pytest.mark.parametrize("defence", [DP, SILENT], ids=["dp", "clip-noise"])
def test_scaled_losses_are_refused(model: StableDiffusion, defence: DpDefence | ClipNoiseDefence) -> None:
    with pytest.raises(ValueError, match=f"defence {defence.kind} does not go with precision fp16, which scales the loss; use fp32 or"):
        shaken(model, LORA, training=TRAINING.model_copy(update={"precision": "fp16"}), defence=defence, say=must_not_train)


def must_not_train(fraction: float, words: str) -> None:
    raise AssertionError("it trained")
