"""The engine on a small real UNet: batches, fusing, counting, precision. Letters: n images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from torch import Tensor

from s2l_core.attacks.engine import AttackRun, run_attacks
from s2l_core.specs.attacks import ATTACK_PRESETS, AttackSpec, LossAttack, PIAAttack, SecMIAttack

ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
N = 11
KEYS = [f"image-{i}" for i in range(N)]
PROMPTS = [f"photo of {'ann' if i % 2 else 'bob'}" for i in range(N)]
WIDTH = 16
KINDS = [member() for member in get_args(get_args(AttackSpec)[0])]
FUSED = {"loss": LossAttack(), "secmi": SecMIAttack(), "pia": PIAAttack(), "s2l-paper": SecMIAttack(t=140)}


class Model:
    """A UNet2DConditionModel with random weights that counts its calls."""

    def __init__(self) -> None:
        from diffusers import UNet2DConditionModel

        torch.manual_seed(0)
        self.unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=8,
        ).eval()
        self.batches: list[tuple[int, set[int]]] = []
        self.gradients = False

    def denoise(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        self.batches.append((len(x), set(t.tolist())))
        eps: Tensor = self.unet(x, t, context.to(x)).sample
        self.gradients |= eps.requires_grad
        return eps

    def context_for(self, prompts: Sequence[str]) -> Tensor:
        rows = [torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(sum(map(ord, prompt)))) for prompt in prompts]
        return torch.stack(rows)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return Model()


X0 = torch.randn(N, 4, 8, 8, generator=torch.Generator().manual_seed(7))


def run(
    model: Model, attacks: dict[str, AttackSpec], rows: Sequence[int] = range(N), *, batch_size: int = 4, dtype: torch.dtype = torch.float32
) -> AttackRun:
    index = list(rows)
    prompts = [PROMPTS[i] for i in index]
    model.batches.clear()
    return run_attacks(
        attacks,
        X0[index],
        [KEYS[i] for i in index],
        dict.fromkeys(attacks, prompts),
        model.context_for,
        model.denoise,
        ALPHAS,
        batch_size=batch_size,
        dtype=dtype,
    )


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


@pytest.mark.parametrize(
    ("spec", "tolerance"), [(SecMIAttack(), 1e-3), (LossAttack(), 1e-5), (PIAAttack(), 1e-5)], ids=["secmi", "loss", "pia"]
)
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_changes_scores_by_rounding_only(model: Model, spec: AttackSpec, tolerance: float, batch_size: int) -> None:
    base, other = (run(model, {"it": spec}, batch_size=size).scores["it"] for size in (4, batch_size))
    assert (other / base - 1).abs().max() <= tolerance


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind)
def test_in_double_precision_the_batch_size_and_the_order_change_nothing_beyond_1e_9(spec: AttackSpec) -> None:
    model = Model()
    model.unet.double()
    base = run(model, {"it": spec}, dtype=torch.float64).scores["it"]
    backwards = run(model, {"it": spec}, range(N)[::-1], batch_size=3, dtype=torch.float64).scores["it"].flip(0)
    assert (backwards / base - 1).abs().max() <= 1e-9


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
    assert set(result.scores) == set(ATTACK_PRESETS)
