"""The losses of a shake, each against its formula written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from s2l_core.adapters import attach
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import to_pixels
from s2l_core.losses import loss_of_terms
from s2l_core.losses import terms as terms_module
from s2l_core.losses.denoising import snr_weight
from s2l_core.objectives import terms_of
from s2l_core.specs.objectives import DenoiseObjective, DreamBoothObjective, EndToEndObjective, ObjectiveSpec
from tests.adapter_cases import unchanged
from tests.shake_cases import ALL, CLASS, DENOISE, PRIOR, RECORDS, whole_batch


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


# --- denoising ---


def test_the_loss_is_the_squared_error_of_the_noise_for_each_image_with_its_prompt(model: StableDiffusion) -> None:
    loss = loss_of_terms(model, terms_of(DENOISE, RECORDS, name="ada"), text_is_trained=False)
    batch = whole_batch(step=2, size=6)
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
            loss_of_terms(model, terms_of(objective, RECORDS, name="ada", prior=prior), text_is_trained=False)(whole_batch(0, 3))
            for objective, prior in ((PRIOR, CLASS), (DreamBoothObjective(), None))
        )
        drawn = whole_batch(0, 3).others(3, "class")
        chosen = [replace(CLASS[place], text="photo") for place in drawn.tolist()]
        term = replace(terms_of(DENOISE, chosen, name="ada")[0], name="class")
        added = loss_of_terms(model, [term], text_is_trained=False)(whole_batch(0, 3))
    assert sorted(drawn.tolist()) == [0, 1, 2]
    torch.testing.assert_close(both, alone + 0.5 * added)


@pytest.mark.parametrize("objective", [DenoiseObjective(), DreamBoothObjective(), PRIOR], ids=["denoise", "dreambooth", "prior"])
def test_text_encoded_again_at_each_step_gives_the_loss_of_cached_text(model: StableDiffusion, objective: ObjectiveSpec) -> None:
    terms = terms_of(objective, RECORDS, name="ada", prior=CLASS if objective == PRIOR else None)
    with torch.no_grad():
        cached, again = (loss_of_terms(model, terms, text_is_trained=trained)(whole_batch(0, 6)) for trained in (False, True))
    torch.testing.assert_close(cached, again)


# --- min-SNR weights ---


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weights_are_the_papers_for_each_kind_of_prediction(
    model: StableDiffusion, prediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "prediction_type", prediction)
    t = torch.tensor([0, 100, 500, 900])
    abar = model.alphas_cumprod[t]
    snr = abar / (1 - abar)
    assert float(snr.min()) < 5 < float(snr.max())
    capped = torch.minimum(snr, torch.tensor(5.0, dtype=torch.float64))
    expected = {"epsilon": capped / snr, "v_prediction": capped / (snr + 1), "sample": capped}[prediction]
    torch.testing.assert_close(snr_weight(model, t, 5.0), expected)


@pytest.mark.parametrize(("prediction", "limit"), [("epsilon", 1.0), ("v_prediction", 0.0), ("sample", 0.0)])
def test_min_snr_weights_are_finite_where_no_signal_is_left(
    model: StableDiffusion, prediction: str, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "prediction_type", prediction)
    monkeypatch.setattr(model, "alphas_cumprod", torch.tensor([0.9, 0.0], dtype=torch.float64))
    assert float(snr_weight(model, torch.tensor([1]), 5.0)) == limit


def test_snr_gamma_weighs_each_images_loss_by_its_timestep(model: StableDiffusion) -> None:
    terms, batch = terms_of(DENOISE, RECORDS, name="ada"), whole_batch(1, 6)
    with torch.no_grad():
        plain, weighted = (loss_of_terms(model, terms, text_is_trained=False, snr_gamma=gamma)(batch) for gamma in (None, 0.5))
    weights = snr_weight(model, batch.integers(1000, "timestep of set"), 0.5).float()
    torch.testing.assert_close(weighted, plain * weights)
    assert float(weights.min()) < 0.5


# --- the autoencoder's ---


def test_end_to_end_adds_reconstruction_and_kl_of_the_same_images(model: StableDiffusion) -> None:
    objective, batch = EndToEndObjective(reconstruction_weight=2.0, kl_weight=0.1), whole_batch(3, 4)
    with attach(model, ALL, seed=0), torch.no_grad():
        ours = loss_of_terms(model, terms_of(objective, RECORDS, name="ada"), text_is_trained=True)(batch)
        denoising = loss_of_terms(model, terms_of(DENOISE, RECORDS, name="ada"), text_is_trained=True)(batch)
        pixels = to_pixels(RECORDS[:4], 16)
        posterior = model.vae.encode(pixels).latent_dist
        drawn = posterior.mean + posterior.std * batch.noise(model.latent_shape, "posterior of set")
        error = (model.vae.decode(drawn).sample - pixels).square().mean(dim=(1, 2, 3))
        mean, variance = posterior.mean, posterior.var
        kl = 0.5 * (mean**2 + variance - 1 - variance.log()).sum(dim=(1, 2, 3))
    torch.testing.assert_close(ours, denoising + 2.0 * error + 0.1 * kl / (3 * 16 * 16), rtol=1e-4, atol=1e-5)


def test_decoded_images_that_are_kept_change_no_bit(model: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    terms, found = terms_of(EndToEndObjective(), RECORDS, name="ada"), []
    for kept in (terms_module.KEPT_PIXELS, 0):
        monkeypatch.setattr(terms_module, "KEPT_PIXELS", kept)
        decoded: list[int] = []
        monkeypatch.setattr(terms_module, "to_pixels", lambda *args, log=decoded: log.append(1) or to_pixels(*args))
        with attach(model, ALL, seed=0), torch.no_grad():
            loss = loss_of_terms(model, terms, text_is_trained=True)
            found.append(torch.stack([loss(whole_batch(step, 3)) for step in range(2)]))
        assert len(decoded) == (0 if kept else 2)
    assert torch.equal(*found)


def test_the_denoising_loss_sends_the_autoencoder_no_gradient_and_sees_it_as_it_is(model: StableDiffusion) -> None:
    batch = whole_batch(0, 2)
    with attach(model, ALL, seed=0) as on:
        whole = loss_of_terms(model, terms_of(EndToEndObjective(kl_weight=0), RECORDS, name="ada"), text_is_trained=True)
        whole(batch).sum().backward()
        got = {name: parameter.grad.clone() for name, parameter in on.parameters().items() if parameter.grad is not None}
        assert {name.partition(".")[0] for name in got} == {"unet", "text_encoder", "vae"}
        for parameter in on.parameters().values():
            parameter.grad = None
        pixels = to_pixels(RECORDS[:2], 16)
        posterior = model.vae.encode(pixels).latent_dist
        drawn = posterior.mean + posterior.std * batch.noise(model.latent_shape, "posterior of set")
        (model.vae.decode(drawn).sample - pixels).square().mean(dim=(1, 2, 3)).sum().backward()
        for name, parameter in on.parameters().items():
            if name.startswith("vae.") and parameter.grad is not None:
                torch.testing.assert_close(got[name], parameter.grad)
        before = whole(batch).detach()
        with torch.no_grad():
            model.vae.encoder.conv_in.weight.mul_(1.5)
        assert not torch.allclose(whole(batch), before, rtol=1e-3)
