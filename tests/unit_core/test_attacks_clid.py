"""CLiD against closed forms, its captions, what it asks and refuses. Letters: n images."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, sin

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from s2l_core.attacks import clid
from s2l_core.attacks.engine import AttackRun, run_attacks
from s2l_core.attacks.noising import noise_of
from s2l_core.attacks.queries import Images, answer, unconditioned
from s2l_core.specs.attacks import ATTACK_PRESETS, ClidAttack, LossAttack
from tests.attack_cases import LINEAR, RAMP, Model, angle, close, run, wave

KEYS = ("a", "b")
WORDS = {"red": 0.3, "round": -0.2, "face": 0.5, "green": 0.1}


def meaning(prompt: str) -> float:
    """The mean of the images that a caption describes: the sum over its words."""
    return sum(WORDS[word] for word in prompt.split())


def context_for(prompts: Sequence[str]) -> Tensor:
    return torch.tensor([meaning(prompt) for prompt in prompts], dtype=torch.float64)


def denoise(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """E[eps | x_t, c] for images that are N(mean of c, I) given their caption c."""
    theta = angle(int(t[0]))
    return sin(theta) * (x - cos(theta) * context.reshape(-1, 1, 1, 1))


def scored(spec: ClidAttack, prompts: Sequence[str], batch_size: int = 32) -> AttackRun:
    return run_attacks({"it": spec}, RAMP, KEYS, {"it": prompts}, context_for, denoise, LINEAR, dtype=torch.float64, batch_size=batch_size)


def loss(t: int, means: Sequence[float], draw: int = 0) -> Tensor:
    """Closed form: eps - noise = cos (sin (x - mean) - cos noise)."""
    theta, noise = angle(t), noise_of(Images(RAMP, KEYS, ("", ""), LINEAR), t, draw)
    off = RAMP - torch.tensor(means, dtype=torch.float64).reshape(-1, 1, 1, 1)
    return cos(theta) ** 2 * (sin(theta) * off - cos(theta) * noise).flatten(1).square().mean(1)


# --- closed forms ---


def test_clid_without_pieces_is_what_the_caption_is_worth_against_none() -> None:
    prompts = ["red face", "green round face"]
    expected = loss(450, [0, 0]) - loss(450, [meaning(prompt) for prompt in prompts])
    close(scored(ClidAttack(timesteps=(450,), pieces=0), prompts).scores["it"], expected, 1e-9)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_clid_of_normal_data_with_the_exact_denoiser_has_its_closed_form(weight: float) -> None:
    spec = ClidAttack(timesteps=(440, 460), draws=2, pieces=2, loss_weight=weight)
    found = scored(spec, ["red round face", "green face"]).scores["it"]
    shortened = [[0.3, 0.1], [0.3, 0.5], [0.0, 0.0]]  # "red" | "round face", "green" | "face", and none
    expected = torch.zeros(2, dtype=torch.float64)
    for t in spec.timesteps:
        for draw in range(2):
            whole = loss(t, [0.6, 0.6], draw)
            expected += (sum(loss(t, means, draw) for means in shortened) / 3 - whole - weight * whole) / 4
    close(found, expected, 1e-9)


def test_an_image_that_its_caption_describes_scores_higher() -> None:
    """Two equal images, one of them shown with another's caption."""
    x0 = torch.full((2, 1, 8, 8), 0.8, dtype=torch.float64)
    prompts = ["red face", "round"]
    found = run_attacks({"it": ClidAttack()}, x0, ["a", "a"], {"it": prompts}, context_for, denoise, LINEAR, dtype=torch.float64)
    right, wrong = found.scores["it"].tolist()
    assert right > 0 > wrong


def test_a_model_that_reads_no_captions_gives_every_image_the_score_zero() -> None:
    images = Images(RAMP, KEYS, ("red face", "green face"), LINEAR)
    assert torch.equal(answer(clid.attack(ClidAttack(), images), wave), torch.zeros(2, dtype=torch.float64))


# --- captions ---


@pytest.mark.parametrize(
    ("caption", "number", "pieces"),
    [
        ("photo of ann", 3, ["photo", "of", "ann"]),
        ("a red round face", 3, ["a", "red", "round face"]),
        ("a  red\tround face ", 2, ["a red", "round face"]),
        ("one two three four five six seven", 3, ["one two", "three four", "five six seven"]),
        ("ann", 3, ["", "", "ann"]),
    ],
)
def test_a_caption_is_cut_between_words_into_pieces_that_make_it_whole(caption: str, number: int, pieces: list[str]) -> None:
    assert clid.pieces_of(caption, number) == pieces
    assert " ".join(pieces).split() == caption.split()


# --- what it asks ---


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return Model()


def test_clid_costs_timesteps_times_draws_times_two_more_than_its_pieces(model: Model) -> None:
    found = run(model, {"it": ClidAttack()})
    assert (found.calls["it"], found.network_calls, len(model.batches)) == (15, 15, 15 * 3)
    assert run(model, {"it": ClidAttack(timesteps=(10,), draws=3, pieces=2)}).network_calls == 12
    assert run(model, {"it": ClidAttack(timesteps=(10,), pieces=0)}).network_calls == 2


def test_pieces_beyond_the_words_of_all_captions_cost_nothing(model: Model) -> None:
    """Three words in eight pieces: five of them are empty, and asked once with the empty caption."""
    found = run(model, {"it": ClidAttack(timesteps=(10,), pieces=8)})
    assert (found.calls["it"], found.network_calls, len(model.batches)) == (5, 5, 5 * 3)


def test_clid_and_the_loss_attack_share_the_questions_with_the_whole_caption(model: Model) -> None:
    both = run(model, {"loss": LossAttack(timesteps=(440, 450, 460), draws=1), "clid": ClidAttack()})
    assert both.calls == {"loss": 3, "clid": 15}
    assert both.network_calls == 15


def test_all_captions_are_shown_with_the_same_noisy_images() -> None:
    shown: list[Tensor] = []
    images = Images(RAMP, KEYS, ("red face", "green face"), LINEAR)
    answer(clid.attack(ClidAttack(timesteps=(440,)), images), lambda x, t: shown.append(x) or x)  # type: ignore[func-returns-value]
    assert len(shown) == 5
    assert all(torch.equal(x, shown[0]) for x in shown)


def test_scores_do_not_depend_on_whose_captions_are_beside() -> None:
    prompts = ["red", "green round face red"]
    assert torch.equal(scored(ClidAttack(), prompts).scores["it"], scored(ClidAttack(), prompts, batch_size=1).scores["it"])


# --- what it refuses ---


@pytest.mark.parametrize("empty", ["", "  \t"])
def test_an_empty_caption_is_refused_with_what_to_do(empty: str) -> None:
    with pytest.raises(ValueError, match="1 of 2 images have an empty one; attack with the images' own captions or a domain prompt"):
        scored(ClidAttack(), ["red face", empty])


def test_clid_beyond_the_schedule_says_what_the_schedule_has() -> None:
    images = Images(RAMP, KEYS, ("red face", "green face"), LINEAR)
    with pytest.raises(ValueError, match="clid: timestep 1000 is not in this model's schedule; it has 0 to 999"):
        answer(clid.attack(ClidAttack(timesteps=(1000,)), images), wave)
    with pytest.raises(ValueError, match="2 of 2 images have an empty one"):
        answer(clid.attack(ClidAttack(), unconditioned(RAMP, LINEAR)), wave)


@pytest.mark.parametrize(
    "bad", [{"pieces": 1}, {"pieces": -1}, {"draws": 0}, {"timesteps": []}, {"timesteps": [4, 4]}, {"loss_weight": -1}]
)
def test_a_spec_that_cannot_be_run_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ClidAttack.model_validate(bad)


def test_the_preset_has_the_published_timesteps_and_fifteen_calls() -> None:
    assert ATTACK_PRESETS["clid"] == ClidAttack(timesteps=(440, 450, 460), draws=1, pieces=3, loss_weight=0)
