"""What a fit can be asked for beyond the plain loop: schedules, optimisers, averages, companions, drawn batches."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from s2l_core.specs.training import TrainSpec
from s2l_core.training.errors import NumericalFailure
from s2l_core.training.fit import lr_at
from s2l_core.training.optimizers import optimizer_for
from tests.fit_cases import SPEC, Kept, Problem, Stop, stop_after

EMA = SPEC.model_copy(update={"ema": 0.6})


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# --- schedule and optimiser ---


def test_learning_rate_falls_on_a_straight_line_to_zero_after_the_warm_up() -> None:
    spec = TrainSpec(steps=12, lr=1.0, schedule="linear", warmup_steps=2)
    assert [lr_at(step, spec) for step in (0, 1, 2, 7, 11)] == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.1])
    assert lr_at(12, spec) == 0.0
    assert Problem().fit(spec).lr == [lr_at(step, spec) for step in range(12)]


def test_eight_bit_adamw_on_a_cpu_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="optimizer adamw8bit needs a GPU; on a CPU use optimizer adamw"):
        Problem().fit(SPEC.model_copy(update={"optimizer": "adamw8bit"}))


def test_eight_bit_adamw_without_its_library_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    spec = SPEC.model_copy(update={"optimizer": "adamw8bit"})
    with pytest.raises(ValueError, match=r"needs bitsandbytes, which is not installed; install it \(`pip install s2l\[8bit\]`\), or use"):
        optimizer_for(list(Problem().parameters.values()), spec, torch.device("cuda"))


# --- averages ---


def test_the_average_of_the_weights_takes_their_place_at_the_end() -> None:
    problem = Problem()
    average, seen = problem.weights().clone(), []
    curve = problem.fit(EMA, observe=lambda step: seen.append(problem.weights()))
    for step, weights in enumerate(seen, start=1):
        decay = min(0.6, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weights
    torch.testing.assert_close(problem.weights(), average)
    plain = Problem()
    assert plain.fit() == curve
    assert torch.equal(plain.weights(), seen[-1])
    assert not torch.allclose(plain.weights(), average, atol=1e-3)


@pytest.mark.parametrize(("stop", "every"), [(1, 1), (5, 2), (11, 3)])
def test_a_fit_with_an_average_resumes_to_the_same_bits(tmp_path: Path, stop: int, every: int) -> None:
    whole = Problem()
    curve = whole.fit(EMA)
    with pytest.raises(Stop):
        Problem().fit(EMA, checkpoint=Kept(tmp_path / "kept", every), observe=stop_after(stop))
    resumed = Problem()
    assert resumed.fit(EMA, checkpoint=Kept(tmp_path / "kept", every)) == curve
    assert torch.equal(resumed.weights(), whole.weights())


def test_a_checkpoint_without_the_average_is_not_used_by_a_fit_with_one(tmp_path: Path) -> None:
    Problem().fit(SPEC, checkpoint=Kept(tmp_path / "kept"))
    problem, whole = Problem(), Problem()
    problem.fit(EMA, checkpoint=Kept(tmp_path / "kept"))
    whole.fit(EMA)
    assert torch.equal(problem.weights(), whole.weights())


def test_an_average_of_no_step_is_where_it_began() -> None:
    problem = Problem()
    before = problem.weights()
    problem.fit(EMA.model_copy(update={"steps": 0}))
    assert torch.equal(problem.weights(), before)


# --- companions and drawn batches ---


class Counter:
    """Ends a fit after some steps, and says what it was told."""

    name = "counter"

    def __init__(self, last: int) -> None:
        self.last, self.told, self.count = last, list[str](), 0

    def begin(self) -> None:
        self.told.append("begin")

    def after(self, step: int) -> bool:
        self.count += 1
        self.told.append(f"after {step}")
        return self.count >= self.last

    def end(self) -> None:
        self.told.append("end")

    def tensors(self) -> dict[str, Tensor]:
        return {"count": torch.tensor(self.count)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.count = int(tensors["count"])


def test_a_companion_ends_a_fit_and_its_checkpoints_know_what_it_knew(tmp_path: Path) -> None:
    counter = Counter(last=4)
    curve = Problem().fit(companions=[counter])
    assert counter.told == ["begin", "after 1", "after 2", "after 3", "after 4", "end"]
    assert curve.step == [0, 1, 2, 3]
    with pytest.raises(Stop):
        Problem().fit(companions=[Counter(last=4)], checkpoint=Kept(tmp_path / "kept"), observe=stop_after(3))
    again = Counter(last=4)
    assert Problem().fit(companions=[again], checkpoint=Kept(tmp_path / "kept")) == curve
    assert again.told == ["after 3", "after 4", "end"]


def test_a_sampler_takes_the_place_of_epochs_and_may_draw_nothing() -> None:
    chosen = [torch.tensor([1, 2]), torch.tensor([], dtype=torch.int64), torch.tensor([0, 1, 2, 3, 4])]
    seen: list[list[int]] = []
    problem = Problem()
    good = problem.loss
    problem.loss = lambda batch: seen.append(batch.indices.tolist()) or good(batch)  # type: ignore[method-assign,func-returns-value]
    curve = problem.fit(SPEC.model_copy(update={"steps": 3}), sampler=lambda step: chosen[step], micro_batch=3)
    assert seen == [[1, 2], [0, 1, 2], [3, 4]]
    assert curve.loss[1] == curve.grad_norm[1] == 0.0


def test_a_failed_fit_leaves_no_gradient_behind() -> None:
    problem = Problem()
    good = problem.loss
    problem.loss = lambda batch: good(batch) * (float("nan") if batch.step == 1 else 1.0)  # type: ignore[method-assign]
    with pytest.raises(NumericalFailure):
        problem.fit()
    assert all(parameter.grad is None for parameter in problem.parameters.values())
