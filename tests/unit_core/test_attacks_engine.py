"""The engine on a small real UNet: batches, fusing, counting, precision. Letters: n images."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from s2l_core.attacks.engine import run_attacks
from s2l_core.attacks.queries import Attack, Images
from s2l_core.specs.attacks import ATTACK_PRESETS, AttackSpec, LossAttack, PIAAttack, SecMIAttack, SimAAttack
from tests.attack_cases import FUSED, KEYS, KINDS, PROMPTS, X0, Model, N, run
from tests.attack_cases import SCALED_LINEAR as ALPHAS

ROUNDING = {"secmi": 1e-3}
"""How far single precision moves the scores of an attack that is a small difference of large numbers."""
SIGNED = ("pfami", "clid")
"""Kinds whose scores may be anywhere near zero: how far they move is told by the largest, not by each."""


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return Model()


@cache
def double() -> Model:
    """The same UNet in double precision."""
    model = Model()
    model.unet.double()
    return model


@pytest.mark.parametrize("spec", [*KINDS, SecMIAttack(t=140)], ids=lambda spec: f"{spec.kind}-{getattr(spec, 't', '')}")
def test_every_attack_scores_the_same_bytes_alone_as_beside_all_others(model: Model, spec: AttackSpec) -> None:
    alone = run(model, {"it": spec})
    together = run(model, {**FUSED, "it": spec})
    assert torch.equal(alone.scores["it"], together.scores["it"])
    assert alone.calls["it"] == together.calls["it"] == alone.network_calls


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind)
def test_every_attack_gives_one_finite_double_per_image_that_depends_on_the_image(model: Model, spec: AttackSpec) -> None:
    scores = run(model, {"it": spec}).scores["it"]
    assert scores.dtype == torch.float64
    assert scores.shape == (N,)
    assert torch.isfinite(scores).all()
    assert len(set(scores.tolist())) == N


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind)
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_changes_scores_by_rounding_only(model: Model, spec: AttackSpec, batch_size: int) -> None:
    base, other = (run(model, {"it": spec}, batch_size=size).scores["it"] for size in (4, batch_size))
    unit = base.abs().max() if spec.kind in SIGNED else base.abs()
    assert ((other - base) / unit).abs().max() <= ROUNDING.get(spec.kind, 1e-5)


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind)
def test_in_double_precision_the_batch_size_and_the_order_change_nothing_beyond_1e_9(spec: AttackSpec) -> None:
    model = double()
    base = run(model, {"it": spec}, dtype=torch.float64).scores["it"]
    backwards = run(model, {"it": spec}, range(N)[::-1], batch_size=3, dtype=torch.float64).scores["it"].flip(0)
    assert (backwards / base - 1).abs().max() <= 1e-9


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind)
def test_single_precision_moves_scores_little(model: Model, spec: AttackSpec) -> None:
    single, exact = run(model, {"it": spec}).scores["it"], run(double(), {"it": spec}, dtype=torch.float64).scores["it"]
    unit = exact.abs().max() if spec.kind in SIGNED else exact.abs()
    assert 0 < ((single - exact) / unit).abs().max() <= ROUNDING.get(spec.kind, 1e-5)


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind)
def test_all_scores_of_an_image_are_those_of_its_key_prompt_and_picture_alone(spec: AttackSpec) -> None:
    """In double precision, where rounding hides nothing: some images, in another order, beside other attacks."""
    everyone = run(double(), {"it": spec}, dtype=torch.float64).scores["it"]
    some = run(double(), {**FUSED, "it": spec}, [9, 2, 5], batch_size=2, dtype=torch.float64).scores["it"]
    assert (some / everyone[[9, 2, 5]] - 1).abs().max() <= 1e-9


def test_an_image_keeps_its_noise_wherever_it_stands_and_whoever_is_beside_it(model: Model) -> None:
    everyone = run(model, {"it": LossAttack()}, batch_size=1).scores["it"]
    some = run(model, {"it": LossAttack()}, [9, 2, 5], batch_size=1).scores["it"]
    assert torch.equal(some, everyone[[9, 2, 5]])


def test_the_images_key_decides_the_noise_of_the_loss_attack(model: Model) -> None:
    arguments = (model.context_for, model.denoise, ALPHAS)
    pair = X0[[0, 0]]
    scores = run_attacks({"it": LossAttack()}, pair, ["a", "b"], {"it": ["", ""]}, *arguments).scores["it"]
    assert scores[0] != scores[1]
    scores = run_attacks({"it": LossAttack()}, pair, ["a", "a"], {"it": ["", ""]}, *arguments, batch_size=1).scores["it"]
    assert scores[0] == scores[1]


def test_secmi_and_pia_share_the_prediction_of_the_clean_image(model: Model) -> None:
    shared = run(model, {"secmi": SecMIAttack(), "pia": PIAAttack()})
    assert shared.calls == {"secmi": 12, "pia": 2}
    assert shared.network_calls == 13
    assert len(model.batches) == 13 * 3  # chunks of 4, 4 and 3 images


def test_secmi_pia_and_sima_are_fourteen_calls_an_image(model: Model) -> None:
    """12 of SecMI, one of PIA (its first is SecMI's first), one of SimA. PIAN shares the first too, draws of the loss come on top."""
    three = {name: ATTACK_PRESETS[name] for name in ("secmi", "pia", "sima")}
    assert run(model, three).network_calls == 14
    assert len(model.batches) == 14 * 3  # chunks of 4, 4 and 3 images
    assert run(model, {**three, "pian": ATTACK_PRESETS["pian"]}).network_calls == 15
    assert run(model, {**three, "loss": LossAttack(draws=2)}).network_calls == 14 + 4 * 2


def test_sima_at_the_clean_timestep_is_secmis_first_call(model: Model) -> None:
    shared = run(model, {"secmi": SecMIAttack(), "sima": SimAAttack(t=0)})
    assert shared.calls == {"secmi": 12, "sima": 1}
    assert shared.network_calls == 12


def test_an_attack_that_asks_the_same_twice_needs_it_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(spec: SimAAttack, images: Images) -> Attack:
        first = yield images.ask(images.x0, spec.t)
        again = yield images.ask(images.x0.clone(), spec.t)
        assert torch.equal(first, again)
        return first.flatten(1).sum(1)

    monkeypatch.setattr("s2l_core.attacks.sima.attack", twice)
    found = run(model, {"it": SimAAttack()})
    assert (found.calls, found.network_calls, len(model.batches)) == ({"it": 1}, 1, 3)


def test_calls_are_those_of_the_chunk_that_needs_most(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_size(spec: SimAAttack, images: Images) -> Attack:
        for t in range(len(images.keys)):
            eps = yield images.ask(images.x0, t)
        return eps.flatten(1).sum(1)

    monkeypatch.setattr("s2l_core.attacks.sima.attack", by_size)
    found = run(model, {"it": SimAAttack()})
    assert (found.calls, found.network_calls) == ({"it": 4}, 4), "chunks of 4, 4 and 3 images"


def test_the_paper_preset_holds_all_calls_of_the_shorter_walk(model: Model) -> None:
    both = run(model, {"short": SecMIAttack(), "paper": SecMIAttack(t=140)})
    assert both.calls == {"short": 12, "paper": 16}
    assert both.network_calls == 16


def test_a_network_batch_is_one_chunk_at_one_timestep(model: Model) -> None:
    run(model, FUSED)
    assert {size for size, _ in model.batches} == {4, 3}
    assert all(len(timesteps) == 1 for _, timesteps in model.batches)


def test_different_prompts_are_different_questions(model: Model) -> None:
    attacks = {"own": PIAAttack(), "null": PIAAttack()}
    arguments = (X0, KEYS, {"own": PROMPTS, "null": [""] * N}, model.context_for, model.denoise, ALPHAS)
    result = run_attacks(attacks, *arguments)
    assert result.network_calls == 4
    assert not torch.equal(result.scores["own"], result.scores["null"])


def test_scoring_takes_no_gradients_and_no_autocast(model: Model) -> None:
    plain = run(model, {"it": SecMIAttack()}).scores["it"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = run(model, {"it": SecMIAttack()}).scores["it"]
    assert torch.equal(plain, inside)
    assert not model.gradients


def test_tf32_is_off_while_scoring_in_convolutions_too_and_as_before_afterwards(model: Model) -> None:
    seen: list[tuple[str, str, bool]] = []

    def noted(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        seen.append((torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn.benchmark))  # type: ignore[attr-defined]
        return model.denoise(x, t, context)

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    try:
        run_attacks({"it": PIAAttack()}, X0, KEYS, {"it": PROMPTS}, model.context_for, noted, ALPHAS)
        assert set(seen) == {("ieee", "ieee", False)}
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.benchmark
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.benchmark = False


def test_a_model_that_answers_nan_is_an_error_that_names_attack_and_image(model: Model) -> None:
    def broken(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        eps = model.denoise(x, t, context)
        eps[1:] = float("nan")
        return eps

    with pytest.raises(FloatingPointError, match=r"'pia' gave a score that is not finite for 10 of 11 images, first for image number 1"):
        run_attacks({"pia": PIAAttack()}, X0, KEYS, {"pia": PROMPTS}, model.context_for, broken, ALPHAS, batch_size=64)


def test_lengths_that_do_not_match_are_refused(model: Model) -> None:
    arguments = (model.context_for, model.denoise, ALPHAS)
    with pytest.raises(ValueError, match="got 2 keys for 11 images"):
        run_attacks({"it": PIAAttack()}, X0, KEYS[:2], {"it": PROMPTS}, *arguments)
    with pytest.raises(ValueError, match="got 3 prompts for 11 images"):
        run_attacks({"it": PIAAttack()}, X0, KEYS, {"it": PROMPTS[:3]}, *arguments)


def test_every_preset_runs_on_a_schedule_of_a_thousand_steps(model: Model) -> None:
    result = run(model, dict(ATTACK_PRESETS), range(2))
    assert set(result.scores) | set(result.readings) == set(ATTACK_PRESETS)
    assert not set(result.scores) & set(result.readings)
