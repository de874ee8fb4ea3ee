"""SecMI_NNs: what its classifier reads, and how scores are learnt from it without a look at the images they are of. Letters: n images."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from s2l_core.attacks import secmi, secmi_nns
from s2l_core.attacks.calibration import calibration_part, learnt_scores
from s2l_core.attacks.queries import answer, unconditioned
from s2l_core.metrics.roc import auc
from s2l_core.specs.attacks import SecMIAttack, SecMINNsAttack
from tests.attack_cases import FUSED, KEYS, LEARNING, LINEAR, RAMP, Model, N, close, run, wave

SPEC = SecMINNsAttack()
MANY = [f"image-{number}" for number in range(120)]
MEMBER = [number % 3 == 0 for number in range(120)]


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return Model()


def planted(member: list[bool], seed: int = 0) -> Tensor:
    """Errors of one and the same length, which lie in the left half for members and in the right half for the others."""
    errors = 1e-4 * torch.rand(len(member), 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    side = torch.cat([torch.full((4,), 1.5), torch.full((4,), 0.5)]).double()
    tilted = errors * torch.stack([side if one else side.flip(0) for one in member])[:, None, None, :]
    return tilted / tilted.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)


def area(spec: SecMINNsAttack, errors: Tensor, member: list[bool]) -> float:
    found = learnt_scores(spec, errors, MANY, member)
    inside = torch.tensor(member)[found.rows]
    return auc(found.scores[inside].numpy(), found.scores[~inside].numpy())


# --- what the classifier reads ---


def test_the_squares_of_what_is_read_add_up_to_secmis_t_error() -> None:
    read = answer(secmi_nns.attack(SPEC, unconditioned(RAMP, LINEAR)), wave)
    assert read.shape == RAMP.shape
    assert (read >= 0).all()
    close(read.square().flatten(1).sum(1), secmi.t_error(wave, RAMP, LINEAR, t=100, k=10), 1e-9)


@pytest.mark.parametrize("spec", LEARNING, ids=lambda spec: spec.kind)
def test_an_attack_that_learns_reads_the_same_bytes_alone_as_beside_all_others(model: Model, spec: SecMINNsAttack) -> None:
    alone, together = run(model, {"it": spec}), run(model, {**FUSED, "it": spec})
    assert torch.equal(alone.readings["it"], together.readings["it"])
    assert alone.calls["it"] == together.calls["it"] == alone.network_calls
    assert alone.scores == {}
    assert len(alone.readings["it"]) == N


def test_it_costs_nothing_beside_secmi(model: Model) -> None:
    both = run(model, {"secmi": SecMIAttack(), "nns": SPEC})
    assert both.calls == {"secmi": 12, "nns": 12}
    assert both.network_calls == 12


def test_in_double_precision_batch_and_order_change_nothing_that_is_read() -> None:
    exact = Model()
    exact.unet.double()
    base = run(exact, {"it": SPEC}, dtype=torch.float64).readings["it"]
    backwards = run(exact, {"it": SPEC}, range(N)[::-1], batch_size=3, dtype=torch.float64).readings["it"].flip(0)
    assert (backwards - base).abs().max() <= 1e-9 * base.abs().max()


def test_a_reading_that_is_not_finite_is_an_error_that_names_attack_and_image(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return torch.where(torch.arange(len(x)).reshape(-1, 1, 1, 1) == 2, float("nan"), x)

    monkeypatch.setattr(model, "denoise", broken)
    with pytest.raises(FloatingPointError, match="'it' gave a score that is not finite for 1 of 11 images, first for image number 2"):
        run(model, {"it": SPEC}, batch_size=64)


# --- the calibration part ---


def test_the_calibration_part_is_the_share_of_members_and_of_non_members() -> None:
    for share, members, others in ((0.5, 20, 40), (0.2, 8, 16)):
        part = calibration_part(MANY, MEMBER, share, 0)
        assert sum(one and kind for one, kind in zip(part, MEMBER, strict=True)) == members
        assert sum(one and not kind for one, kind in zip(part, MEMBER, strict=True)) == others


def test_who_calibrates_depends_on_key_and_seed_and_not_on_the_order() -> None:
    part = calibration_part(MANY, MEMBER, 0.5, 0)
    assert calibration_part(MANY[::-1], MEMBER[::-1], 0.5, 0) == part[::-1]
    assert calibration_part(MANY, MEMBER, 0.5, 1) != part


def test_equal_images_are_in_one_part() -> None:
    keys = [f"image-{number // 4}" for number in range(120)]
    part = calibration_part(keys, [number < 60 for number in range(120)], 0.5, 0)
    assert all(len(set(part[start : start + 4])) == 1 for start in range(0, 120, 4))
    assert 0 < sum(part) < 120


# --- learning ---


def test_a_pattern_that_the_length_does_not_show_is_learnt() -> None:
    errors = planted(MEMBER)
    lengths = errors.flatten(1).norm(dim=1)
    assert (lengths - 1).abs().max() < 1e-9
    assert area(SPEC, errors, MEMBER) > 0.95


def test_nothing_is_learnt_where_there_is_nothing() -> None:
    """Membership by lot: over eight lots the areas lie around one half."""
    errors = planted(MEMBER)
    areas = []
    for lot in range(8):
        drawn = torch.randperm(120, generator=torch.Generator().manual_seed(lot)) < 40
        areas.append(area(SPEC, errors, drawn.tolist()))
    assert 0.43 < sum(areas) / 8 < 0.57


def test_scores_are_of_the_other_part_alone() -> None:
    found = learnt_scores(SPEC, planted(MEMBER), MANY, MEMBER)
    part = calibration_part(MANY, MEMBER, SPEC.calibration, SPEC.seed)
    assert found.rows.tolist() == [number for number, one in enumerate(part) if not one]
    assert (found.members, found.non_members) == (20, 40)
    assert found.scores.shape == (60,)
    assert found.scores.dtype == torch.float64


def test_no_image_that_is_scored_teaches_anything() -> None:
    """Whatever the test part's first image looks like, the others' scores are the same bytes."""
    errors = planted(MEMBER)
    base = learnt_scores(SPEC, errors, MANY, MEMBER)
    errors[int(base.rows[0])] = 1e3
    again = learnt_scores(SPEC, errors, MANY, MEMBER)
    assert torch.equal(again.scores[1:], base.scores[1:])
    assert again.scores[0] != base.scores[0]


def test_an_image_that_calibrates_teaches_something() -> None:
    errors = planted(MEMBER)
    base = learnt_scores(SPEC, errors, MANY, MEMBER)
    errors[min(set(range(120)) - set(base.rows.tolist()))] *= 5
    assert not torch.equal(learnt_scores(SPEC, errors, MANY, MEMBER).scores, base.scores)


def test_the_same_errors_give_the_same_bytes_and_no_draw_of_torch_is_touched() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = learnt_scores(SPEC, planted(MEMBER), MANY, MEMBER).scores
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    with torch.no_grad():
        assert torch.equal(learnt_scores(SPEC, planted(MEMBER), MANY, MEMBER).scores, first)


def test_the_scale_of_errors_does_not_matter() -> None:
    errors = planted(MEMBER)
    base, tiny = (learnt_scores(SPEC, factor * errors, MANY, MEMBER).scores for factor in (1.0, 1e-7))
    assert (tiny - base).abs().max() < 1e-3 * base.abs().max()


# --- what it refuses ---


def test_too_few_images_are_refused_with_the_counts() -> None:
    told = "2 members and 2 non-members to train on, 1 and 2 to score; each must be at least 2: give more images, or another calibration"
    with pytest.raises(ValueError, match=told):
        learnt_scores(SecMINNsAttack(), planted(MEMBER)[:7], KEYS[:7], [True] * 3 + [False] * 4)


def test_what_is_no_map_is_refused() -> None:
    with pytest.raises(ValueError, match=r"errors of the shape \[n, c, h, w\]; got \[120, 256\]"):
        learnt_scores(SPEC, planted(MEMBER).flatten(1), MANY, MEMBER)


BAD = ({"t": 105}, {"t": 0}, {"k": 0}, {"calibration": 0}, {"calibration": 1}, {"steps": 0}, {"lr": 0}, {"seed": -1})


@pytest.mark.parametrize("bad", BAD)
def test_a_spec_that_cannot_be_run_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SecMINNsAttack.model_validate(bad)
