"""The training loop: what it computes, and that stopping anywhere changes nothing."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from s2l_core.specs.training import TrainSpec
from s2l_core.training.errors import NumericalFailure
from s2l_core.training.fit import Batch, Curve, examples_of, fit, lr_at
from tests.fit_cases import EXAMPLES, SPEC, Kept, Problem, Stop, stop_after

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# --- what it computes ---


def test_weights_follow_torch_adamw_on_the_mean_of_per_example_losses() -> None:
    ours, theirs = Problem(dropout=0.0), Problem(dropout=0.0)
    spec = SPEC.model_copy(update={"schedule": "constant", "warmup_steps": 0, "clip_norm": None, "steps": 5})
    ours.fit(spec)
    plain = torch.optim.AdamW(theirs.network.parameters(), lr=spec.lr, betas=spec.betas, eps=spec.eps, weight_decay=spec.weight_decay)
    for step in range(5):
        plain.zero_grad()
        theirs.loss(Batch(step, examples_of(step, EXAMPLES, 4, 5), torch.arange(4), 4, 5)).mean().backward()
        plain.step()
    torch.testing.assert_close(ours.weights(), theirs.weights(), rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_gradient_that_the_optimiser_sees_and_the_curve_tells_the_norm_before() -> None:
    free, clipped = Problem(dropout=0.0), Problem(dropout=0.0)
    tiny = SPEC.model_copy(update={"clip_norm": 1e-9, "eps": 1.0, "steps": 1, "weight_decay": 0.0, "warmup_steps": 0})
    before = clipped.weights()
    curve = clipped.fit(tiny)
    assert curve.grad_norm[0] > 0.1
    assert float((clipped.weights() - before).abs().max()) < 1e-10
    assert curve.grad_norm == free.fit(tiny.model_copy(update={"clip_norm": None})).grad_norm
    assert float((free.weights() - before).abs().max()) > 1e-5


def test_loss_goes_down() -> None:
    losses = Problem(dropout=0.0).fit(SPEC.model_copy(update={"steps": 200, "schedule": "constant", "lr": 0.05})).loss
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_every_epoch_shows_every_example_once_in_an_order_of_its_own() -> None:
    stream = torch.cat([examples_of(step, EXAMPLES, 4, seed=3) for step in range(10)])
    epochs = [stream[start : start + EXAMPLES].tolist() for start in range(0, 40, EXAMPLES)]
    assert all(sorted(epoch) == list(range(EXAMPLES)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_batch_larger_than_the_set_goes_through_several_epochs() -> None:
    assert torch.bincount(examples_of(0, 3, 8, seed=0), minlength=3).tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_learning_rate_warms_up_and_then_falls_as_half_a_cosine() -> None:
    spec = TrainSpec(steps=12, lr=1.0, schedule="cosine", warmup_steps=2)
    assert [lr_at(step, spec) for step in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert lr_at(7, spec) == pytest.approx(0.5)
    assert lr_at(11, spec) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.9)))
    assert lr_at(11, spec.model_copy(update={"schedule": "constant"})) == 1.0
    assert Problem().fit(spec).lr == [lr_at(step, spec) for step in range(12)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_micro_batches_change_nothing_but_rounding(size: int) -> None:
    whole, cut = Problem(dropout=0.0), Problem(dropout=0.0)
    first, second = whole.fit(), cut.fit(micro_batch=size)
    torch.testing.assert_close(cut.weights(), whole.weights(), rtol=1e-5, atol=1e-6)
    assert second.loss == pytest.approx(first.loss, rel=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    first, second, third = Problem(), Problem(), Problem()
    assert first.fit() == second.fit()
    assert torch.equal(first.weights(), second.weights())
    fit(third.parameters, third.loss, examples=EXAMPLES, training=SPEC, seed=6)
    assert not torch.equal(first.weights(), third.weights())


def test_torchs_own_random_state_neither_steers_a_fit_nor_is_touched_by_it() -> None:
    first, second = Problem(), Problem()
    torch.manual_seed(1)
    first.fit()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second.fit()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.weights(), second.weights())


def test_zero_steps_leave_the_weights_as_they_were() -> None:
    problem = Problem()
    before = problem.weights()
    assert problem.fit(SPEC.model_copy(update={"steps": 0})) == Curve()
    assert torch.equal(problem.weights(), before)


def test_it_says_how_far_it_is_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[float, str]] = []
    Problem().fit(say=lambda fraction, words: told.append((fraction, words)))
    assert [fraction for fraction, _ in told] == [(step + 1) / 12 for step in range(12)]
    assert told[-1][1].startswith("step 12 of 12, loss ")
    assert capfd.readouterr() == ("", "")


# --- precision and process ---


def test_precisions_do_not_leak_from_one_fit_to_the_next() -> None:
    alone = Problem(dropout=0.0)
    alone.fit()
    half = Problem(dropout=0.0)
    half.fit(SPEC.model_copy(update={"precision": "bf16"}))
    after = Problem(dropout=0.0)
    after.fit()
    assert torch.equal(alone.weights(), after.weights())
    assert not torch.equal(alone.weights(), half.weights())
    torch.testing.assert_close(alone.weights(), half.weights(), rtol=0.1, atol=0.1)
    assert half.weights().dtype == torch.float32


def test_a_fit_leaves_no_process_state_of_accelerate_even_when_it_fails() -> None:
    from accelerate.state import AcceleratorState, PartialState

    Problem().fit(SPEC.model_copy(update={"precision": "bf16", "steps": 1}))
    assert PartialState._shared_state == {}
    with pytest.raises(Stop):
        Problem().fit(observe=stop_after(1))
    assert AcceleratorState._shared_state == {}


def test_a_launchers_variables_make_no_fit_wait_for_other_processes() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/unit_core'); import torch, test_fit; torch.set_num_threads(1); "
        "problem = test_fit.Problem(); problem.fit(); print(problem.weights().double().sum().item().hex())"
    )
    launched = {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2", "PMI_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **launched, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=120, check=True,
    )  # fmt: skip
    here = Problem()
    here.fit()
    assert float.fromhex(done.stdout.strip()) == float(here.weights().double().sum())


def test_importing_the_loop_does_not_import_accelerate() -> None:
    code = "import sys, s2l_core.training.fit; assert 'accelerate' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_fp16_on_a_cpu_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="fp16 training needs a GPU; on a CPU use precision fp32 or bf16"):
        Problem().fit(SPEC.model_copy(update={"precision": "fp16"}))


def test_nothing_to_train_and_nothing_to_train_on_are_said_so() -> None:
    problem = Problem()
    with pytest.raises(ValueError, match="got 0 examples"):
        fit(problem.parameters, problem.loss, examples=0, training=SPEC, seed=0)
    problem.network.requires_grad_(False)
    with pytest.raises(ValueError, match="none of 4 parameters requires a gradient"):
        problem.fit()


# --- failures ---


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_its_step_and_changes_no_weight(value: float) -> None:
    problem = Problem()
    good = problem.loss
    problem.loss = lambda batch: good(batch) * (value if batch.step == 3 else 1.0)  # type: ignore[method-assign]
    seen: list[Tensor] = []
    with pytest.raises(NumericalFailure, match=f"the loss is {value} at step 3; try a lower learning rate"):
        problem.fit(observe=lambda step: seen.append(problem.weights()))
    assert torch.equal(problem.weights(), seen[2])


def test_a_gradient_that_is_not_finite_names_its_step_and_changes_no_weight() -> None:
    problem = Problem()
    good = problem.loss
    first = problem.parameters["0.weight"]
    # sqrt has an infinite slope at 0: the loss is finite, the gradient is not
    problem.loss = lambda batch: good(batch) + ((first * 0).sum().abs().sqrt() if batch.step == 2 else 0.0)  # type: ignore[method-assign]
    seen: list[Tensor] = []
    with pytest.raises(NumericalFailure, match="the gradient's norm is nan at step 2"):
        problem.fit(observe=lambda step: seen.append(problem.weights()))
    assert torch.equal(problem.weights(), seen[1])


# --- checkpoints ---


@pytest.mark.parametrize(("stop", "every"), [(1, 1), (5, 1), (5, 2), (11, 3), (2, 5)])
def test_a_fit_stopped_anywhere_and_resumed_gives_the_bits_of_an_uninterrupted_one(tmp_path: Path, stop: int, every: int) -> None:
    whole = Problem()
    curve = whole.fit()
    with pytest.raises(Stop):
        Problem().fit(checkpoint=Kept(tmp_path / "kept", every), observe=stop_after(stop))
    resumed = Problem()
    steps: list[int] = []
    assert resumed.fit(checkpoint=Kept(tmp_path / "kept", every), observe=steps.append) == curve
    assert torch.equal(resumed.weights(), whole.weights())
    kept = (stop - 1) // every * every  # the observer stops a step before its own state is kept
    assert steps == list(range(kept + 1, 13))


def test_checkpoints_are_safetensors_and_json_alone(tmp_path: Path) -> None:
    Problem().fit(checkpoint=Kept(tmp_path / "kept", 5))
    assert sorted(path.name for path in (tmp_path / "kept" / "000").iterdir()) == ["fit.json", "fit.safetensors"]


def test_the_last_step_keeps_no_checkpoint_that_nobody_would_read(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    Problem().fit(checkpoint=kept)
    assert kept.saved() == SPEC.steps - 1


def test_a_checkpoint_of_other_parameters_is_not_used(tmp_path: Path) -> None:
    other = nn.Parameter(torch.ones(2))
    fit({"other": other}, lambda batch: other[batch.indices] ** 2, examples=2, training=SPEC, seed=0, checkpoint=Kept(tmp_path / "kept"))
    problem, whole = Problem(), Problem()
    problem.fit(checkpoint=Kept(tmp_path / "kept"))
    whole.fit()
    assert torch.equal(problem.weights(), whole.weights())


def test_a_fit_killed_in_the_middle_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def run(kill_after: int) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.path.insert(0, 'tests/unit_core'); import test_fit; test_fit.die_or_finish({str(tmp_path)!r},{kill_after})"
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120)

    assert run(kill_after=4).returncode == -signal.SIGKILL
    assert run(kill_after=9).returncode == -signal.SIGKILL
    done = run(kill_after=0)
    whole = Problem()
    whole.fit()
    assert done.stdout.split() == ["9", hashlib.sha256(whole.weights().numpy().tobytes()).hexdigest()]


def die_or_finish(folder: str, kill_after: int) -> None:
    """Runs in a process of its own: prints the first step it made and a digest of the weights, or dies without a word."""
    torch.set_num_threads(1)
    problem, steps = Problem(), []

    def observe(step: int) -> None:
        steps.append(step)
        if step == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    problem.fit(checkpoint=Kept(Path(folder) / "kept"), observe=observe)
    print(steps[0], hashlib.sha256(problem.weights().numpy().tobytes()).hexdigest())
