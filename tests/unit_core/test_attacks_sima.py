"""SimA against its closed form, what it asks, and what it refuses."""

from __future__ import annotations

from math import sin

import pytest
import torch
from pydantic import ValidationError

from s2l_core.attacks import sima
from s2l_core.attacks.queries import answer, unconditioned
from s2l_core.specs.attacks import ATTACK_PRESETS, SimAAttack
from tests.attack_cases import LINEAR, RAMP, Counted, angle, close, exact_denoiser, wave


@pytest.mark.parametrize("p", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("t", [0, 100, 999])
def test_sima_of_normal_data_with_the_exact_denoiser_has_its_closed_form(t: int, p: float) -> None:
    x0 = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = sin(angle(t)) ** p * x0.flatten(1).abs().pow(p).sum(1)
    close(sima.sima_error(exact_denoiser(LINEAR), x0, t=t, p=p), expected, 1e-9)


def test_sima_is_the_sum_of_fourth_powers_of_one_prediction_for_the_clean_image() -> None:
    """Worked out apart from the code: sum over elements of sin(1.3 x + 0.1)^4, with `math.fsum`."""
    close(sima.sima_error(wave, RAMP, t=100), [37.2057943714, 62.5656090563], 1e-9)


def test_sima_makes_one_call() -> None:
    eps = Counted()
    sima.sima_error(eps, RAMP, t=100)
    assert eps.timesteps == [100]


def test_sima_shows_the_image_as_it_is() -> None:
    shown: list[torch.Tensor] = []
    sima.sima_error(lambda x, t: shown.append(x) or x, RAMP, t=500)  # type: ignore[func-returns-value]
    assert len(shown) == 1
    assert torch.equal(shown[0], RAMP)


def test_simas_score_is_minus_its_error() -> None:
    scores = answer(sima.attack(SimAAttack(t=60, p=2), unconditioned(RAMP, LINEAR)), wave)
    assert torch.equal(scores, -sima.sima_error(wave, RAMP, t=60, p=2))


def test_an_image_in_which_the_model_sees_less_noise_scores_higher() -> None:
    images = unconditioned(torch.ones(2, 1, 8, 8, dtype=torch.float64), LINEAR)
    known, unknown = answer(sima.attack(SimAAttack(), images), lambda x, t: x * torch.tensor([0.1, 0.2]).reshape(2, 1, 1, 1)).tolist()
    assert known > unknown


def test_no_images_have_no_errors() -> None:
    assert sima.sima_error(wave, RAMP[:0], t=100).shape == (0,)


@pytest.mark.parametrize(("t", "p"), [(-1, 4.0), (100, 0.0), (100, -2.0), (100, float("nan"))])
def test_what_sima_cannot_be_asked_for_is_said(t: int, p: float) -> None:
    with pytest.raises(ValueError, match=f"at least 0 and a power greater than 0; got t={t}, p={p}"):
        sima.sima_error(wave, RAMP, t=t, p=p)


def test_sima_beyond_the_schedule_says_what_the_schedule_has() -> None:
    with pytest.raises(ValueError, match="sima: timestep 1000 is not in this model's schedule; it has 0 to 999"):
        answer(sima.attack(SimAAttack(t=1000), unconditioned(RAMP, LINEAR)), wave)


@pytest.mark.parametrize("bad", [{"t": -1}, {"p": 0}, {"p": -1}, {"p": float("inf")}, {"timesteps": [100]}])
def test_a_spec_that_cannot_be_run_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SimAAttack.model_validate(bad)


def test_the_preset_asks_where_no_other_attack_does() -> None:
    """At t=0 it would be SecMI's and PIA's first call: SecMI(100, 10) + PIA + SimA are 12 + 1 + 1 calls, so that t is another."""
    assert ATTACK_PRESETS["sima"] == SimAAttack(t=100, p=4)
