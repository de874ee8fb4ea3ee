"""The size of text-conditional noise: closed forms, what it asks, what it does not depend on, what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, sin, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from s2l_core.memorisation import memorisation_scores, way
from tests.attack_cases import LINEAR, SCALED_LINEAR, Model, angle, close

SHAPE = (4, 8, 8)
MEANS = {"a face": 0.5, "a face of ann": 2.0, "": 0.0}


def context_for(prompts: Sequence[str]) -> Tensor:
    return torch.tensor([MEANS[prompt] for prompt in prompts], dtype=torch.float64)


def denoise(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """E[eps | x_t, c] for images that are N(mean of c, I) given their caption c."""
    theta = angle(int(t[0]))
    return sin(theta) * (x - cos(theta) * context.reshape(-1, 1, 1, 1))


def scores(prompts: Sequence[str] = tuple(MEANS), **options: Any) -> Tensor:
    return memorisation_scores(prompts, SHAPE, context_for, denoise, LINEAR, dtype=torch.float64, **options)


@pytest.mark.parametrize("options", [{}, {"measured": 10}, {"steps": 5, "measured": 5, "noises": 1}, {"measured": 50, "guidance": 1.0}])
def test_the_score_of_normal_data_with_the_exact_denoiser_has_its_closed_form(options: dict[str, Any]) -> None:
    """What the text adds is -sin cos mean, wherever the picture is."""
    timesteps = way(1000, options.get("steps", 50))[: options.get("measured", 1)]
    size = sum(sin(angle(t)) * cos(angle(t)) for t in timesteps) / len(timesteps) * sqrt(4 * 8 * 8)
    close(scores(**options), [0.5 * size, 2.0 * size, 0.0], 1e-9)


def test_the_way_goes_with_the_prompt() -> None:
    """A model whose text adds what the picture is: the size tells where the picture went, by DDIM steps with guidance."""

    def following(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return context.reshape(-1, 1, 1, 1) * x

    def size(guidance: float) -> float:
        arguments = (["a face"], SHAPE, context_for, following, LINEAR)
        return float(memorisation_scores(*arguments, steps=10, measured=2, noises=1, guidance=guidance, dtype=torch.float64))

    first, second = (angle(t) for t in way(1000, 10)[:2])
    for guidance in (0.0, 1.0, 3.0):
        eps = guidance * 0.5
        moved = cos(second) * (1 - sin(first) * eps) / cos(first) + sin(second) * eps
        assert size(guidance) / size(0.0) == pytest.approx((1 + abs(moved)) / (1 + cos(second) / cos(first)))


def test_the_way_goes_evenly_from_the_noisiest_timestep_to_the_first() -> None:
    assert way(1000, 5) == [999, 749, 500, 250, 0]
    assert way(1000, 1) == [999]
    assert way(3, 3) == [2, 1, 0]


# --- a real network ---


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    made = Model()
    made.unet.double()
    return made


def real(model: Model, prompts: Sequence[str], **options: Any) -> Tensor:
    model.batches.clear()
    return memorisation_scores(prompts, SHAPE, model.context_for, model.denoise, SCALED_LINEAR, dtype=torch.float64, **options)


def test_a_prompts_score_does_not_depend_on_the_batch_or_the_other_prompts(model: Model) -> None:
    prompts = ["photo of ann", "photo of bob", "ann"]
    whole = real(model, prompts, noises=3, measured=2)
    assert len(set(whole.tolist())) == 3
    for batch_size in (1, 2, 5):
        close(real(model, prompts[::-1], noises=3, measured=2, batch_size=batch_size).flip(0), whole, 1e-9)
    close(real(model, prompts[1:2], noises=3, measured=2), whole[1:2], 1e-9)


def test_it_costs_two_calls_a_noise_and_measured_timestep(model: Model) -> None:
    real(model, ["photo of ann", "bob"], noises=3, measured=2, batch_size=6)
    assert [size for size, _ in model.batches] == [6] * 4
    assert [timesteps for _, timesteps in model.batches] == [{999}, {999}, {979}, {979}]


def test_the_empty_prompt_is_worth_nothing(model: Model) -> None:
    assert real(model, [""]).tolist() == [0.0]


def test_it_says_how_far_it_is(model: Model) -> None:
    told: list[float] = []
    real(model, ["photo of ann", "bob"], noises=3, batch_size=4, say=told.append)
    assert told == [pytest.approx(4 / 6), 1.0]


# --- what it refuses ---


@pytest.mark.parametrize("options", [{"noises": 0}, {"measured": 0}, {"measured": 51}, {"steps": 1001}, {"steps": 0, "measured": 0}])
def test_numbers_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"noises >= 1 and 1 <= measured <= steps <= 1000, .*; got noises="):
        scores(**options)


@pytest.mark.parametrize("prompts", [[], "a face"])
def test_what_is_no_list_of_prompts_is_refused(prompts: Any) -> None:
    with pytest.raises(ValueError, match="needs a list of prompts"):
        scores(prompts)


def test_a_model_that_answers_nan_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="NaN or infinity"):
        memorisation_scores(["a face"], SHAPE, context_for, lambda x, t, c: x * float("nan"), LINEAR)
