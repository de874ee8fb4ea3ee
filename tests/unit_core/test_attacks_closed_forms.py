"""Attacks against closed forms, published golden numbers and the plain two-step form. Letters: n images, T timesteps."""

from __future__ import annotations

from math import cos, prod, sin, sqrt

import pytest
import torch
from torch import Tensor

from s2l_core.attacks import loss, pia, secmi
from s2l_core.attacks.noising import noise_of
from s2l_core.attacks.queries import EpsFn, Images, answer, unconditioned
from s2l_core.specs.attacks import LossAttack, PIAAttack, SecMIAttack
from tests.attack_cases import LINEAR, RAMP, SCALED_LINEAR, Counted, angle, close, exact_denoiser, wave

GOLDEN = [(LINEAR, [8.0001374e-06, 5.42371082e-05], 2e-4), (SCALED_LINEAR, [1.95035624e-06, 1.4292524e-05], 3e-4)]


@pytest.mark.parametrize(("alphas", "expected", "relative"), GOLDEN, ids=["linear", "stable-diffusion"])
def test_secmi_gives_the_published_codes_numbers(alphas: Tensor, expected: list[float], relative: float) -> None:
    """The exact values lie 0.9e-4 (linear) and 2.7e-4 (stable-diffusion) under the published numbers: the test below says why."""
    close(secmi.t_error(wave, RAMP, alphas, t=100, k=10), expected, relative)


@pytest.mark.parametrize(("alphas", "expected", "relative"), GOLDEN, ids=["linear", "stable-diffusion"])
def test_the_published_numbers_are_the_two_steps_with_float32_constants(alphas: Tensor, expected: list[float], relative: float) -> None:
    """sqrt(b) (x / sqrt(a)) + sqrt(b) (sqrt(1/b - 1) - sqrt(1/a - 1)) eps, its constants rounded to float32, gives them to 1e-6.

    There and back, x is multiplied by 1 + O(1e-7): an error of its own beside a t-error of 1e-4 an element.
    """

    def step(x: Tensor, eps: Tensor, start: int, stop: int) -> Tensor:
        a, b = (alphas.float()[t, None, None, None, None] for t in (start, stop))
        moved: Tensor = b.sqrt() * ((1 / a.sqrt()) * x) + ((1 / b - 1).sqrt() - (1 / a - 1).sqrt()) * b.sqrt() * eps
        return moved

    x = RAMP
    for t in range(0, 100, 10):
        x = step(x, wave(x, t), t, t + 10)
    beyond = step(x, wave(x, 100), 100, 110)
    back = step(beyond, wave(beyond, 110), 110, 100)
    close((back - x).flatten(1).square().sum(1), expected, 1e-6)


def test_pia_gives_the_published_codes_numbers() -> None:
    close(pia.pia_error(wave, RAMP, LINEAR, t=100), [0.00771506337, 0.212284428], 1e-5)


@pytest.mark.parametrize(("t", "k"), [(100, 10), (140, 10), (60, 20), (10, 10)])
def test_secmi_of_normal_data_with_the_exact_denoiser_is_the_fourth_power_of_a_sine(t: int, k: int) -> None:
    x0 = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shrink = prod(cos(angle(s + k) - angle(s)) for s in range(0, t, k))
    expected = sin(angle(t + k) - angle(t)) ** 4 * shrink**2 * x0.flatten(1).square().sum(1)
    close(secmi.t_error(exact_denoiser(LINEAR), x0, LINEAR, t=t, k=k), expected, 1e-9)


@pytest.mark.parametrize("p", [2.0, 4.0])
def test_pia_of_normal_data_with_the_exact_denoiser_has_its_closed_form(p: float) -> None:
    x0 = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    start, end = angle(0), angle(100)
    factor = sin(start) - sin(end) * (cos(end) + sin(end) * sin(start))
    expected = abs(factor) ** p * x0.flatten(1).abs().pow(p).sum(1)
    close(pia.pia_error(exact_denoiser(LINEAR), x0, LINEAR, t=100, p=p), expected, 1e-9)


def test_loss_of_normal_data_with_the_exact_denoiser_has_its_closed_form() -> None:
    x0 = torch.randn(3, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    images = Images(x0, ("a", "b", "c"), ("",) * 3, LINEAR)
    scores = answer(loss.attack(LossAttack(timesteps=(200,), draws=1), images), exact_denoiser(LINEAR))
    theta, noise = angle(200), noise_of(images, 200, 0)
    close(-scores, cos(theta) ** 2 * (sin(theta) * x0 - cos(theta) * noise).flatten(1).square().mean(1), 1e-9)


def two_step_secmi(eps: EpsFn, x0: Tensor, alphas: Tensor, t: int, k: int) -> Tensor:
    """SecMI as its paper defines it: a step out, a step back, and the distance of the two states."""

    def step(x: Tensor, at: int, to: int) -> Tensor:
        e = eps(x, at)
        clean = (x - (1 - alphas[at]).sqrt() * e) / alphas[at].sqrt()
        return alphas[to].sqrt() * clean + (1 - alphas[to]).sqrt() * e

    x = x0
    for s in range(0, t, k):
        x = step(x, s, s + k)
    back = step(step(x, t, t + k), t + k, t)
    return (back - x).flatten(1).square().sum(1)


@pytest.mark.parametrize(("t", "k"), [(100, 10), (140, 10), (300, 50)])
def test_secmis_closed_form_is_the_two_step_form(t: int, k: int) -> None:
    close(secmi.t_error(wave, RAMP, LINEAR, t=t, k=k), two_step_secmi(wave, RAMP, LINEAR, t, k), 1e-9)


def test_secmis_closed_form_loses_less_in_single_precision_than_the_two_step_form() -> None:
    def single(x: Tensor, t: int) -> Tensor:
        return wave(x.float(), t)

    exact = secmi.t_error(wave, RAMP, LINEAR, t=100, k=10)
    ours = secmi.t_error(single, RAMP.float(), LINEAR, t=100, k=10).double()
    theirs = two_step_secmi(single, RAMP.float(), LINEAR.float(), 100, 10).double()
    assert (ours / exact - 1).abs().max() < (theirs / exact - 1).abs().max()


@pytest.mark.parametrize(("t", "k"), [(100, 10), (140, 10)])
def test_secmi_makes_t_over_k_plus_two_calls_upwards_from_zero(t: int, k: int) -> None:
    eps = Counted()
    secmi.t_error(eps, RAMP, LINEAR, t=t, k=k)
    assert eps.timesteps == list(range(0, t + k + 1, k))
    assert len(eps.timesteps) == t // k + 2


def test_pia_makes_two_calls() -> None:
    eps = Counted()
    pia.pia_error(eps, RAMP, LINEAR, t=100)
    assert eps.timesteps == [0, 100]


def test_timestep_zero_is_an_ordinary_state_of_the_walk() -> None:
    with_one = LINEAR.clone()
    with_one[0] = 1.0
    ordinary, clean = (secmi.t_error(wave, RAMP, alphas, t=100, k=10) for alphas in (LINEAR, with_one))
    assert (clean / ordinary - 1).abs().max() > 1e-4


def test_normalized_pia_does_not_see_the_scale_of_the_first_prediction() -> None:
    def scaled(factor: float) -> EpsFn:
        return lambda x, t: factor * wave(x, 0) if t == 0 else wave(x, t)

    plain = [pia.pia_error(scaled(f), RAMP, LINEAR, t=100) for f in (1.0, 3.0)]
    normalized = [pia.pia_error(scaled(f), RAMP, LINEAR, t=100, normalized=True) for f in (1.0, 3.0)]
    close(normalized[1], normalized[0], 1e-9)
    assert (plain[1] / plain[0] - 1).abs().min() > 0.1


def test_normalized_pia_gives_the_first_prediction_the_mean_size_of_standard_noise() -> None:
    noise = torch.randn(2, 4, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    close(pia.like_standard_noise(noise), noise, 0.02)
    assert torch.equal(pia.like_standard_noise(torch.zeros(1, 4, 2, 2)), torch.zeros(1, 4, 2, 2))


@pytest.mark.parametrize(("spec", "module"), [(SecMIAttack(), secmi), (PIAAttack(), pia)])
def test_scores_are_minus_the_raw_errors(spec: SecMIAttack | PIAAttack, module: object) -> None:
    scores = answer(module.attack(spec, unconditioned(RAMP, LINEAR)), wave)  # type: ignore[attr-defined]
    errors = secmi.t_error(wave, RAMP, LINEAR, t=100, k=10) if module is secmi else pia.pia_error(wave, RAMP, LINEAR, t=100)
    assert torch.equal(scores, -errors)


def test_an_image_the_model_denoises_better_scores_higher_on_loss() -> None:
    images = Images(torch.zeros(2, 1, 8, 8, dtype=torch.float64), ("known", "unknown"), ("", ""), LINEAR)

    def knows_the_first(x: Tensor, t: int) -> Tensor:
        noise = x / sqrt(1 - float(LINEAR[t]))
        return noise + torch.tensor([0.0, 0.1], dtype=x.dtype).reshape(2, 1, 1, 1)

    known, unknown = answer(loss.attack(LossAttack(), images), knows_the_first).tolist()
    assert known > unknown
    assert unknown == pytest.approx(-0.01)


@pytest.mark.parametrize(("t", "k"), [(990, 10), (1000, 10), (995, 5)])
def test_secmi_beyond_the_schedule_says_what_the_schedule_has(t: int, k: int) -> None:
    with pytest.raises(ValueError, match="it has 0 to 999; choose a smaller t or k"):
        secmi.t_error(wave, RAMP, LINEAR, t=t, k=k)


@pytest.mark.parametrize(("t", "k"), [(105, 10), (0, 10), (100, 0), (-10, 10)])
def test_secmi_refuses_steps_that_do_not_fit(t: int, k: int) -> None:
    with pytest.raises(ValueError, match="positive multiple of k"):
        secmi.t_error(wave, RAMP, LINEAR, t=t, k=k)


def test_pia_and_loss_beyond_the_schedule_say_so() -> None:
    with pytest.raises(ValueError, match="timestep 1000 is not in this model's schedule"):
        pia.pia_error(wave, RAMP, LINEAR, t=1000)
    with pytest.raises(ValueError, match="timestep 5000 is not in this model's schedule"):
        answer(loss.attack(LossAttack(timesteps=(5000,)), unconditioned(RAMP, LINEAR)), wave)


def test_no_images_have_no_errors() -> None:
    assert secmi.t_error(wave, RAMP[:0], LINEAR, t=100, k=10).shape == (0,)
    assert pia.pia_error(wave, RAMP[:0], LINEAR, t=100).shape == (0,)
