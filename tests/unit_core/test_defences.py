"""The defences without privacy accounting: what each changes about a fit, what it says, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError

from s2l_core.adapters import attach
from s2l_core.defences import Refused, Scene, Setup, defend, near_own_samples, own_distance
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import to_pixels
from s2l_core.losses import loss_of_terms
from s2l_core.objectives import Mixed, Term, terms_of
from s2l_core.specs.adapters import AdapterSpec, GaussianAdapter, HypernetworkAdapter, LoraAdapter, NoAdapter, TextualInversionAdapter
from s2l_core.specs.defences import (
    ClipNoiseDefence,
    DefenceSpec,
    DpDefence,
    EarlyStoppingDefence,
    L2ToBaseDefence,
    MixDefence,
    RejectDefence,
)
from s2l_core.specs.objectives import EndToEndObjective
from s2l_core.training.fit import Curve
from tests.adapter_cases import unchanged
from tests.fit_cases import Kept
from tests.shake_cases import ALL, DENOISE, DENSE, LORA, RECORDS, TRAINING, UNET, guarded, record, shaken, whole_batch

PUBLIC = [record(number, "photo of bob") for number in range(200, 204)]
OWN = [record(number, "photo of ada") for number in range(300, 304)]
EXAMPLES: dict[str, tuple[DefenceSpec, dict[str, Any]]] = {
    "dp": (DpDefence(noise_multiplier=1.0), {}),
    "clip-noise": (ClipNoiseDefence(), {}),
    "l2-to-base": (L2ToBaseDefence(weight=0.5), {}),
    "early-stopping": (EarlyStoppingDefence(every=2, share=0.3), {}),
    "mix": (MixDefence(), {"public": PUBLIC}),
    "reject": (RejectDefence(distance=1e-6), {"own": OWN}),
}

every_defence = pytest.mark.parametrize(("defence", "images"), EXAMPLES.values(), ids=EXAMPLES)


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


# --- all of them ---


def test_every_member_of_the_union_is_under_test() -> None:
    assert {type(defence) for defence, _ in EXAMPLES.values()} == set(get_args(get_args(DefenceSpec)[0]))
    assert all(defence.kind == name for name, (defence, _) in EXAMPLES.items())


@every_defence
def test_a_defended_shake_repeats_itself_to_the_bit_and_states_its_facts_as_json(
    model: StableDiffusion, defence: DefenceSpec, images: dict[str, Any]
) -> None:
    first, curve = shaken(model, UNET, defence=defence, **images)
    second, again = shaken(model, UNET, defence=defence, **images)
    assert curve == again
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    facts = guarded(model, defence, **images).facts
    assert facts["kind"] == defence.kind
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


@every_defence
def test_a_defended_shake_stopped_in_the_middle_goes_on_to_the_same_bits(
    model: StableDiffusion, defence: DefenceSpec, images: dict[str, Any], tmp_path: Path
) -> None:
    whole, curve = shaken(model, UNET, defence=defence, **images)

    def stop(fraction: float, words: str) -> None:
        if fraction > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shaken(model, UNET, defence=defence, checkpoint=Kept(tmp_path / "kept"), say=stop, **images)
    resumed, again = shaken(model, UNET, defence=defence, checkpoint=Kept(tmp_path / "kept"), **images)
    assert again == curve
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.parametrize("adapter", [NoAdapter(), GaussianAdapter(sigma=0.1)], ids=["none", "gaussian"])
@every_defence
def test_a_defence_of_a_shake_that_trains_nothing_is_refused(
    model: StableDiffusion, defence: DefenceSpec, images: dict[str, Any], adapter: AdapterSpec
) -> None:
    with pytest.raises(ValueError, match=rf"\({adapter.kind}\) train nothing, so that defence {defence.kind} has nothing to act on; leave"):
        guarded(model, defence, (adapter,), **images)


@every_defence
def test_images_that_a_defence_does_not_take_or_lacks_are_said_so(
    model: StableDiffusion, defence: DefenceSpec, images: dict[str, Any]
) -> None:
    for name in ("public", "own"):
        if name in images:
            with pytest.raises(ValueError, match=f"defence {defence.kind} needs {name} images; got none"):
                guarded(model, defence)
        else:
            with pytest.raises(ValueError, match=f"defence {defence.kind} takes no {name} images; got 4; leave them out"):
                guarded(model, defence, **{**images, name: PUBLIC})


def test_without_a_defence_further_images_have_no_place(model: StableDiffusion) -> None:
    with pytest.raises(ValueError, match="defence none takes no public images; got 4"):
        guarded(model, None, public=PUBLIC)
    assert guarded(model, None).facts == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "dp", "epsilon": -1},
        {"kind": "clip-noise", "noise_multiplier": -0.1},
        {"kind": "l2-to-base", "weight": 0},
        {"kind": "early-stopping", "share": 1.0},
        {"kind": "mix", "levels": []},
        {"kind": "reject", "share": 1.5},
    ],
    ids=lambda wrong: wrong["kind"],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    from pydantic import TypeAdapter

    with pytest.raises(ValidationError):
        TypeAdapter(DefenceSpec).validate_python(wrong)


# --- l2-to-base ---


def test_the_penalty_is_the_squared_distance_from_the_base(model: StableDiffusion) -> None:
    with attach(model, UNET, seed=0) as on:
        scene = Scene(model, on, seed=0)
        setup = defend(Setup(terms_of(DENOISE, RECORDS, name="ada"), TRAINING), L2ToBaseDefence(weight=0.5), scene)
        assert setup.penalty is not None
        assert float(setup.penalty().detach()) == 0.0
        with torch.no_grad():
            model.unet.conv_in.weight.add_(0.1)
        assert float(setup.penalty().detach()) == pytest.approx(0.5 * on.change_norm() ** 2, rel=1e-4)
        setup.penalty().backward()
        torch.testing.assert_close(model.unet.conv_in.weight.grad, torch.full_like(model.unet.conv_in.weight, 0.1))


def test_a_larger_penalty_keeps_the_weights_nearer_to_the_base(model: StableDiffusion) -> None:
    training = TRAINING.model_copy(update={"steps": 10, "weight_decay": 0.0})
    distances = [guarded(model, L2ToBaseDefence(weight=weight), training=training).facts["distance"] for weight in (1e-9, 1.0, 1e3)]
    assert distances[0] > distances[1] > distances[2] > 0


@pytest.mark.parametrize(
    "adapters",
    [LORA, (TextualInversionAdapter(),), (HypernetworkAdapter(),), (*DENSE, LoraAdapter(rank=2))],
    ids=["lora", "token", "hypernetwork", "dense below lora"],
)
def test_a_penalty_on_weights_that_the_base_does_not_have_is_refused(model: StableDiffusion, adapters: tuple[AdapterSpec, ...]) -> None:
    with pytest.raises(ValueError, match=r"l2-to-base serves dense adapters, whose weights the base has too; got .*weight_decay"):
        guarded(model, L2ToBaseDefence(), adapters)


# --- mix ---


@pytest.mark.parametrize("levels", [("image",), ("prompt",), ("image", "prompt")], ids=["image", "prompt", "both"])
def test_the_network_meets_images_and_prompts_between_the_set_and_the_public(model: StableDiffusion, levels: tuple[str, ...]) -> None:
    spec, batch = MixDefence.model_validate({"alpha": 0.7, "levels": levels}), whole_batch(2, 4)
    terms = terms_of(DENOISE, RECORDS, name="ada")
    with attach(model, UNET, seed=0) as on:
        setup = defend(Setup(terms, TRAINING), spec, Scene(model, on, seed=3, public=tuple(PUBLIC)))
        assert setup.terms[0].mixed == Mixed(
            Term("public", tuple(PUBLIC), ("photo of bob",) * 4), 0.7, "image" in levels, "prompt" in levels
        )
        with torch.no_grad():
            mixed = loss_of_terms(model, setup.terms, text_is_trained=False)(batch)
            again = loss_of_terms(model, setup.terms, text_is_trained=True)(batch)
            share = batch.betas(0.7, "share of public").float()
            other = [PUBLIC[row] for row in batch.others(4, "public").tolist()]
            x0, context = model.encode_images(to_pixels(RECORDS[:4], 16)), model.encode_text([one.text for one in RECORDS[:4]])
            if "image" in levels:
                s = share[:, None, None, None]
                x0 = s * x0 + (1 - s) * model.encode_images(to_pixels(other, 16))
            if "prompt" in levels:
                s = share[:, None, None]
                context = s * context + (1 - s) * model.encode_text([one.text for one in other])
            t, noise = batch.integers(1000, "timestep of set"), batch.noise(model.latent_shape, "noise of set")
            made = model.predict(model.add_noise(x0, noise, t), t, context)
    torch.testing.assert_close(mixed, (made - noise).square().mean(dim=(1, 2, 3)), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(mixed, again)
    assert 0 < float(share.min()) < float(share.max()) < 1


def test_mixing_changes_the_result_and_micro_batches_do_not(model: StableDiffusion) -> None:
    training = TRAINING.model_copy(update={"eps": 1e-2})
    options: dict[str, Any] = {"training": training, "defence": MixDefence(), "public": PUBLIC}
    (whole, curve), (cut, again) = (shaken(model, DENSE, micro_batch=size, **options) for size in (None, 3))
    assert again.loss == pytest.approx(curve.loss, rel=1e-4)
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, rtol=1e-3, atol=1e-5)
    assert shaken(model, DENSE, training=training)[1].loss != curve.loss


def test_mixing_does_not_go_with_a_trained_autoencoder(model: StableDiffusion) -> None:
    with pytest.raises(ValueError, match="mix does not go with objective end-to-end: the autoencoder would learn the images as they are"):
        guarded(model, MixDefence(), ALL, EndToEndObjective(), public=PUBLIC)


# --- reject ---


def test_the_share_of_near_images_counts_each_image_once_by_its_nearest_sample() -> None:
    copies = [RECORDS[0], RECORDS[0], PUBLIC[0], PUBLIC[1]]
    assert near_own_samples(copies, RECORDS, 1e-6, side=16) == 0.5
    apart = float((to_pixels(PUBLIC[:1], 16) / 2 - to_pixels(RECORDS, 16) / 2).square().mean(dim=(1, 2, 3)).sqrt().min())
    assert near_own_samples(PUBLIC[:1], RECORDS, apart * 1.001, side=16) == 1.0
    assert near_own_samples(PUBLIC[:1], RECORDS, apart * 0.999, side=16) == 0.0


def test_the_models_own_distance_leaves_each_sample_itself_out() -> None:
    assert own_distance([RECORDS[0], RECORDS[0], RECORDS[1]], quantile=0.5, side=16) == 0.0
    assert own_distance(OWN, side=16) > 0.1
    with pytest.raises(ValueError, match="takes at least 2; got 1; draw more, or give a distance"):
        own_distance(OWN[:1])


def test_a_set_of_the_models_own_samples_is_refused_with_the_numbers_before_training(model: StableDiffusion) -> None:
    records = [*OWN, *RECORDS[:2]]
    with pytest.raises(Refused, match=r"the set is refused: 4 of 6 images \(67%\) are nearer than 0.01 to one of 4 samples .*at most 50%"):
        guarded(model, RejectDefence(distance=0.01), records=records, own=OWN)
    with pytest.raises(Refused, match="6 of 6 images"):
        guarded(model, RejectDefence(distance="own", share=0.9), records=[*OWN, *OWN[:2]], own=OWN)


def test_a_set_that_is_let_through_trains_as_without_the_guard(model: StableDiffusion) -> None:
    plain, guarded_too = guarded(model, None), guarded(model, RejectDefence(distance=0.01, share=0.7), own=[*OWN, *RECORDS[:3]])
    assert plain.curve == guarded_too.curve != Curve()
    assert guarded_too.facts == {"kind": "reject", "share": 0.5, "allowed": 0.7, "distance": 0.01, "images": 6, "own_samples": 7}
