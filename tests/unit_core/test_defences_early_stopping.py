"""Early stopping: what is held out, when it stops, and which weights come out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from s2l_core.adapters import attach
from s2l_core.defences import Scene, Setup, defend
from s2l_core.defences.early_stopping import HeldOut
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import ImageRecord
from s2l_core.objectives import terms_of
from s2l_core.specs.defences import EarlyStoppingDefence
from s2l_core.training.errors import NumericalFailure
from tests.adapter_cases import CASES, unchanged
from tests.shake_cases import CLASS, DENOISE, PRIOR, RECORDS, TRAINING, UNET, guarded, objective_for, shaken

STOP = EarlyStoppingDefence(share=0.34, every=1, patience=1, draws=2)


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


def test_training_stops_when_the_held_out_loss_rises_and_the_best_weights_come_out(model: StableDiffusion) -> None:
    """With a learning rate that only does harm, the base is the best."""
    harmful = TRAINING.model_copy(update={"steps": 20, "lr": 0.5})
    found, curve = shaken(model, UNET, training=harmful, defence=STOP)
    base, _ = shaken(model, UNET, training=harmful.model_copy(update={"steps": 0}))
    assert len(curve.step) < 20
    assert all(torch.equal(value, base[name]) for name, value in found.items())
    facts = guarded(model, STOP, training=harmful).facts
    assert (facts["held_out"], facts["trained_on"], facts["kept_step"], facts["steps"]) == (2, 4, 0, len(curve.step))
    losses = [loss for _, loss in facts["held_out_loss"]]
    assert [step for step, _ in facts["held_out_loss"]] == list(range(len(losses)))
    assert min(losses) == losses[0]


def test_a_loss_that_falls_lets_training_go_on_to_the_end_and_measures_there(model: StableDiffusion) -> None:
    gentle = TRAINING.model_copy(update={"steps": 11, "lr": 3e-3})
    facts = guarded(model, STOP.model_copy(update={"every": 4, "patience": 3, "draws": 16}), training=gentle).facts
    assert facts["steps"] == 11
    assert [step for step, _ in facts["held_out_loss"]] == [0, 4, 8, 11]
    assert facts["kept_step"] > 0


def test_held_out_images_are_never_trained_on_and_drawn_by_the_seed(model: StableDiffusion) -> None:
    with attach(model, UNET, seed=0) as on:
        terms = terms_of(PRIOR, RECORDS, name="ada", prior=CLASS)
        found = [defend(Setup(terms, TRAINING), STOP, Scene(model, on, seed=seed)).terms for seed in range(6)]
    kept = [tuple(one.image_id for one in first.records) for first, _ in found]
    assert all(len(ids) == 4 and set(ids) < {one.image_id for one in RECORDS} for ids in kept)
    assert len(set(kept)) > 1
    assert all(others == terms[1] for _, others in found)


def test_a_measurement_switches_dropout_off_and_on_again(model: StableDiffusion) -> None:
    adapters = CASES["hypernetwork, all options"].adapters  # whose dropout changes the answer before anything is trained
    still = TRAINING.model_copy(update={"steps": 3, "lr": 1e-30, "weight_decay": 0.0})
    facts = guarded(model, STOP.model_copy(update={"patience": 9}), adapters, training=still).facts
    assert len({loss for _, loss in facts["held_out_loss"]}) == 1
    with attach(model, adapters, seed=0) as on:
        on.train(True)
        setup = defend(Setup(terms_of(DENOISE, RECORDS, name="ada"), TRAINING), STOP, Scene(model, on, seed=0))
        setup.companions[0].begin()
        assert any(layer.training for layer in model.unet.modules() if isinstance(layer, nn.Dropout))


@pytest.mark.parametrize("name", ["dense all", "lora", "two tokens from a word", "hypernetwork, all options"])
def test_early_stopping_serves_every_kind_of_adapter(model: StableDiffusion, name: str) -> None:
    adapters = CASES[name].adapters
    assert guarded(model, STOP, adapters, objective_for(adapters)).facts["held_out"] == 2


@pytest.mark.parametrize(
    ("change", "records", "text"),
    [
        ({"ema": 0.9}, RECORDS, "early-stopping and the training's ema each say which weights come out"),
        ({"steps": 4}, RECORDS, "would measure every 10 steps of 4; give a smaller every"),
        ({"steps": 10}, RECORDS[:1], "would hold out 1 of 1 images and train on none; give more images, or a smaller share"),
    ],
)
def test_early_stopping_that_cannot_work_is_refused(
    model: StableDiffusion, change: dict[str, Any], records: list[ImageRecord], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        guarded(model, EarlyStoppingDefence(), records=records, training=TRAINING.model_copy(update=change))


def test_a_held_out_loss_that_is_no_number_ends_the_training_by_its_name() -> None:
    losses = iter([1.0, float("nan")])
    held = HeldOut({}, lambda: next(losses), every=1, patience=3, steps=5)
    held._look(0)
    with pytest.raises(NumericalFailure, match="the held-out loss is nan after step 1"):
        held._look(1)
