"""PFAMI against closed forms and its definition written plainly; its crops; what it asks and refuses. Letters: n images."""

from __future__ import annotations

from math import cos, sin

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from s2l_core.attacks import pfami
from s2l_core.attacks.noising import noise_of
from s2l_core.attacks.queries import Images, answer
from s2l_core.specs.attacks import ATTACK_PRESETS, LossAttack, PFAMIAttack
from tests.attack_cases import LINEAR, RAMP, Model, angle, close, exact_denoiser, run, wave

KEYS = ("a", "b")
SLOPE = torch.linspace(-1, 1, 8, dtype=torch.float64)


def images(x0: Tensor) -> Images:
    return Images(x0, KEYS[: len(x0)], ("",) * len(x0), LINEAR)


def score(spec: PFAMIAttack, x0: Tensor) -> Tensor:
    return answer(pfami.attack(spec, images(x0)), exact_denoiser(LINEAR))


# --- closed forms ---


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_pfami_of_a_slope_with_the_exact_denoiser_has_its_closed_form(share: float, relative: bool) -> None:
    """Cropping a slope through zero is multiplying it: L(c x) - L(x) is known for the exact denoiser of N(0, I)."""
    x0 = (SLOPE.reshape(1, 1, 8, 1) + 2 * SLOPE).expand(2, 3, 8, 8).clone()
    r, s = cos(angle(200)), sin(angle(200))
    noise = noise_of(images(x0), 200, 0)

    def loss(factor: float) -> Tensor:
        return r**2 * (s * factor * x0 - r * noise).flatten(1).square().mean(1)

    expected = (loss(share) - loss(1)) / (loss(1) if relative else 1)
    close(score(PFAMIAttack(timesteps=(200,), crops=(share,), relative=relative), x0), expected, 1e-9)


def test_pfami_of_an_image_that_no_crop_changes_is_zero() -> None:
    assert score(PFAMIAttack(), torch.full((2, 4, 8, 8), 0.7, dtype=torch.float64)).abs().max() < 1e-12


def test_pfami_is_its_definition_written_plainly() -> None:
    spec = PFAMIAttack(timesteps=(50, 300), crops=(0.75, 0.5), draws=2)
    found = answer(pfami.attack(spec, images(RAMP)), wave)
    for number, key in enumerate(KEYS):
        rises = []
        for t in spec.timesteps:
            for draw in range(spec.draws):
                noise = noise_of(Images(RAMP[:1], (key,), ("",), LINEAR), t, draw)[0]
                a = LINEAR[t]

                def loss(x: Tensor, t: int = t, noise: Tensor = noise, a: Tensor = a) -> Tensor:
                    return (wave(a.sqrt() * x + (1 - a).sqrt() * noise, t) - noise).square().mean()

                x = RAMP[number]
                rises += [(loss(pfami.cropped(x[None], [share])[0][0]) - loss(x)) / loss(x) for share in spec.crops]
        assert found[number] == pytest.approx(float(sum(rises) / len(rises)), rel=1e-9)


def test_an_image_that_stands_out_from_its_crops_scores_higher() -> None:
    """The model knows the first image: it is right about it, and about nothing else."""
    x0 = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    known = images(x0)
    spec = PFAMIAttack(timesteps=(100,), crops=(0.8,))
    noise = noise_of(known, 100, 0)
    own = LINEAR[100].sqrt() * x0[0] + (1 - LINEAR[100]).sqrt() * noise[0]

    def model(x: Tensor, t: int) -> Tensor:
        off = 1.0 - torch.stack([torch.isclose(image, own).all() * 0.9 for image in x]).reshape(-1, 1, 1, 1)
        return noise + off * 0.5

    first, second = answer(pfami.attack(spec, known), model).tolist()
    assert first == pytest.approx((0.25 - 0.0025) / 0.0025)
    assert second == pytest.approx(0)


# --- crops ---


@pytest.mark.parametrize(("side", "share"), [(64, 0.75), (64, 0.5), (8, 0.5)])
def test_a_crop_is_the_middle_cut_out_and_drawn_at_full_size_but_for_its_border(side: int, share: float) -> None:
    x = torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    cut = int(side * (1 - share) / 2)
    expected = functional.interpolate(x[:, :, cut : side - cut, cut : side - cut], size=(side, side), mode="bilinear", align_corners=False)
    (found,) = pfami.cropped(x, [share])
    close(found[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], 1e-9)


def test_every_share_is_another_crop_on_the_smallest_latents_too() -> None:
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    made = pfami.cropped(x, PFAMIAttack().crops)
    assert len({image.sum().item() for image in made}) == 10
    distances = [float((image - x).square().mean()) for image in made]
    assert distances == sorted(distances), "the smaller the middle, the further off"


def test_images_that_are_not_square_are_cropped_along_both_sides() -> None:
    wide = torch.stack([SLOPE.expand(6, 8), torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None].expand(6, 8)])[None]
    close(pfami.cropped(wide, [0.5])[0], 0.5 * wide, 1e-9)


def test_what_has_no_sides_cannot_be_cropped() -> None:
    with pytest.raises(ValueError, match=r"sides of at least 2; got the shape \[2, 192\]"):
        pfami.cropped(RAMP.flatten(1), [0.9])
    with pytest.raises(ValueError, match=r"sides of at least 2; got the shape \[2, 3, 1, 8\]"):
        pfami.cropped(RAMP[:, :, :1], [0.9])


# --- what it asks ---


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return Model()


def test_pfami_costs_timesteps_times_draws_times_one_more_than_its_crops(model: Model) -> None:
    spec = PFAMIAttack(timesteps=(0, 100), crops=(0.9, 0.8, 0.7), draws=2)
    found = run(model, {"it": spec})
    assert (found.calls["it"], found.network_calls, len(model.batches)) == (16, 16, 16 * 3)
    assert run(model, {"it": PFAMIAttack()}).network_calls == 110


def test_pfami_and_the_loss_attack_share_the_questions_about_the_images_themselves(model: Model) -> None:
    both = run(model, {"loss": LossAttack(timesteps=(100, 200), draws=1), "pfami": PFAMIAttack(timesteps=(100, 200), crops=(0.8,))})
    assert both.calls == {"loss": 2, "pfami": 4}
    assert both.network_calls == 4


def test_the_noise_of_a_crop_is_that_of_its_image() -> None:
    noises: list[Tensor] = []

    def model(x: Tensor, t: int) -> Tensor:
        noises.append((x - LINEAR[t].sqrt() * 0.7) / (1 - LINEAR[t]).sqrt())
        return x

    answer(pfami.attack(PFAMIAttack(timesteps=(100,), crops=(0.8, 0.5)), images(torch.full((2, 4, 8, 8), 0.7, dtype=torch.float64))), model)
    assert len(noises) == 3
    torch.testing.assert_close(noises[1], noises[0])
    torch.testing.assert_close(noises[2], noises[0])
    assert not torch.allclose(noises[0][0], noises[0][1])


# --- what it refuses ---


CROPS: tuple[list[float], ...] = ([], [1.0], [0.0], [-0.5], [0.8, 0.8], [float("nan")])
TIMESTEPS: tuple[list[int], ...] = ([], [5, 5], [-1])


@pytest.mark.parametrize("bad", [*({"crops": crops} for crops in CROPS), *({"timesteps": ts} for ts in TIMESTEPS), {"draws": 0}])
def test_a_spec_that_cannot_be_run_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PFAMIAttack.model_validate(bad)


def test_pfami_beyond_the_schedule_says_what_the_schedule_has() -> None:
    with pytest.raises(ValueError, match="pfami: timestep 1000 is not in this model's schedule; it has 0 to 999"):
        score(PFAMIAttack(timesteps=(1000,)), RAMP)


def test_the_preset_is_the_published_range() -> None:
    preset = ATTACK_PRESETS["pfami"]
    assert isinstance(preset, PFAMIAttack)
    assert preset.timesteps == tuple(range(0, 500, 50))
    assert preset.crops == tuple(round(0.95 - 0.25 * step / 9, 2) for step in range(10))
