"""The private gradient: clipping bounds each example, the noise has its spread, and batches are Poisson samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from s2l_core.defences.private_gradient import PrivateGradient, poisson
from s2l_core.specs.training import TrainSpec
from s2l_core.training.accelerated import Accelerated
from s2l_core.training.batch import Batch
from s2l_core.training.fit import fit
from tests.fit_cases import EXAMPLES, SPEC, Problem


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def private(clip: float, noise: float, batch_size: int = 4) -> Callable[[Problem], PrivateGradient]:
    return lambda problem: PrivateGradient(problem.parameters, clip=clip, noise_multiplier=noise, batch_size=batch_size)


def gradient_of(problem: Problem, rule: PrivateGradient, rows: list[int], seed: int = 5, step: int = 0) -> dict[str, Tensor]:
    batch = Batch(step, torch.tensor(rows, dtype=torch.int64), torch.arange(len(rows)), len(rows), seed)
    with Accelerated(list(problem.parameters.values()), SPEC, "cpu") as run:
        rule(run, problem.loss, batch)
        return {name: parameter.grad.clone() for name, parameter in problem.parameters.items() if parameter.grad is not None}


def length(gradient: Mapping[str, Tensor]) -> float:
    return float(torch.cat([value.flatten() for value in gradient.values()]).norm())


@pytest.mark.parametrize("row", range(EXAMPLES))
def test_no_example_contributes_more_than_the_clip(row: int) -> None:
    problem = Problem(dropout=0.0)
    loss = problem.loss(Batch(0, torch.tensor([row]), torch.arange(1), 1, 5)).sum()
    free = float(torch.cat([value.flatten() for value in torch.autograd.grad(loss, list(problem.parameters.values()))]).norm())
    assert free > 0.01
    clipped = length(gradient_of(problem, private(0.01, 0, batch_size=1)(problem), [row]))
    assert clipped == pytest.approx(0.01, rel=1e-4)
    loose = length(gradient_of(problem, private(2 * free, 0, batch_size=1)(problem), [row]))
    assert loose == pytest.approx(free, rel=1e-5)


def test_an_example_that_joins_a_batch_changes_the_sum_by_the_clip_at_most() -> None:
    problem = Problem(dropout=0.0)
    problem.loss = lambda batch: (problem.network(problem.inputs[batch.indices]) * 100).square().mean(dim=1)  # type: ignore[method-assign]
    rule = private(0.3, 0, batch_size=1)(problem)
    without, joined = (gradient_of(problem, rule, rows) for rows in ([1, 2, 3], [1, 2, 3, 7]))
    assert length({name: joined[name] - value for name, value in without.items()}) == pytest.approx(0.3, rel=1e-4)


def test_the_noise_has_the_stated_spread_whatever_the_batch_even_an_empty_one() -> None:
    problem = Problem(dropout=0.0)
    noise = []
    for rows in ([], [1, 2, 3]):
        loud, silent = (gradient_of(problem, private(0.5, spread, batch_size=8)(problem), rows) for spread in (2.0, 0.0))
        noise.append({name: loud[name] - value for name, value in silent.items()})
    for name, value in noise[0].items():
        torch.testing.assert_close(noise[1][name], value, rtol=1e-4, atol=1e-6)
    rule = private(0.5, 2.0, batch_size=8)(problem)
    drawn = torch.cat([value.flatten() for step in range(60) for value in gradient_of(problem, rule, [], step=step).values()])
    assert len(drawn) == 60 * 50
    assert float(drawn.std()) == pytest.approx(2.0 * 0.5 / 8, rel=0.05)
    assert abs(float(drawn.mean())) < 0.01


def test_noise_differs_from_step_to_step_from_seed_to_seed_and_from_parameter_to_parameter() -> None:
    problem = Problem(dropout=0.0)
    rule = private(1.0, 1.0)(problem)
    drawn = [gradient_of(problem, rule, [], seed=seed, step=step)["0.weight"] for seed, step in ((5, 0), (5, 1), (6, 0))]
    assert len({tuple(value.flatten().tolist()) for value in drawn}) == 3
    first = gradient_of(problem, rule, [])
    assert not torch.equal(first["0.weight"].flatten()[:2], first["2.bias"][:2])


def test_clipped_sums_are_those_of_opacus_hooks_where_these_work() -> None:
    from opacus import GradSampleModule

    ours, theirs = Problem(dropout=0.0), Problem(dropout=0.0)
    clip, rows = 55.0, [0, 3, 4, 8]
    got = gradient_of(ours, private(clip, 0)(ours), rows)
    batch = Batch(0, torch.tensor(rows), torch.arange(4), 4, 5)
    target = batch.noise((2,)) + batch.integers(5)[:, None] + batch.uniform("shift")[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that inputs require no gradient
        hooked = GradSampleModule(theirs.network, loss_reduction="sum")
        (hooked(theirs.inputs[batch.indices]) - target).square().mean(dim=1).sum().backward()
    samples = {name: parameter.grad_sample for name, parameter in theirs.network.named_parameters()}
    norms = torch.stack([value.flatten(1).square().sum(dim=1) for value in samples.values()]).sum(dim=0).sqrt()
    assert float(norms.min()) < clip < float(norms.max())
    factors = (clip / norms).clamp(max=1.0)
    for name, value in samples.items():
        torch.testing.assert_close(got[name], torch.einsum("n,n...->...", factors, value) / 4, rtol=1e-4, atol=1e-6)


# --- the batches ---


def test_each_example_is_in_each_batch_with_the_sampling_rate_on_its_own() -> None:
    sampler = poisson(20, 0.3, seed=1)
    chosen = torch.stack([torch.zeros(20).index_fill(0, sampler(step), 1.0) for step in range(2000)])
    torch.testing.assert_close(chosen.mean(dim=0), torch.full((20,), 0.3), atol=0.05, rtol=0)
    assert float(chosen.sum(dim=1).var()) == pytest.approx(20 * 0.3 * 0.7, rel=0.15)
    together = (chosen[:, 0] * chosen[:, 1]).mean()
    assert float(together) == pytest.approx(0.09, abs=0.03)
    assert not torch.equal(poisson(20, 0.3, seed=2)(0), sampler(0)) or not torch.equal(poisson(20, 0.3, seed=2)(1), sampler(1))


def test_a_sampled_example_s_companion_does_not_depend_on_who_else_is_in_the_batch() -> None:
    def companions(rows: list[int], step: int = 3) -> dict[int, int]:
        batch = Batch(step, torch.tensor(rows), torch.arange(len(rows)), len(rows), seed=7, population=40)
        return dict(zip(rows, batch.others(50, "prior").tolist(), strict=True))

    few, many = companions([2, 9, 30]), companions([0, 2, 5, 9, 11, 30, 39])
    assert many | few == many
    assert companions(list(range(40)), 4) != companions(list(range(40)))
    drawn = [companion for step in range(50) for companion in companions(list(range(40)), step).values()]
    assert set(drawn) == set(range(50))
    assert sum(drawn) / len(drawn) == pytest.approx(24.5, abs=1.5)
    pieces = [piece.others(50, "prior").item() for piece in Batch(3, torch.tensor([2, 9]), torch.arange(2), 2, 7, population=40).pieces(1)]
    assert pieces == [few[2], few[9]]


def test_a_private_fit_samples_companions_too() -> None:
    seen: list[int | None] = []
    problem = Problem()
    good = problem.loss
    problem.loss = lambda batch: seen.append(batch.population) or good(batch)  # type: ignore[method-assign,func-returns-value]
    problem.fit(SPEC.model_copy(update={"steps": 2}), sampler=lambda step: torch.tensor([0, 1]))
    assert set(seen) == {EXAMPLES}
    seen.clear()
    problem.fit(SPEC.model_copy(update={"steps": 2}))
    assert set(seen) == {None}


def test_a_private_fit_trains_on_poisson_samples_and_divides_by_their_expected_size() -> None:
    """Against a plain fit on the same batches, by the mean's rule."""
    training = SPEC.model_copy(update={"clip_norm": None, "eps": 1e-2})
    ours, plain = Problem(dropout=0.0), Problem(dropout=0.0)
    sampler = poisson(EXAMPLES, 0.4, seed=5)
    assert len({len(sampler(step)) for step in range(12)}) > 2
    curve = ours.fit(training, sampler=sampler, gradient=private(1e30, 0)(ours))
    expected = plain.fit(training, sampler=sampler)
    torch.testing.assert_close(ours.weights(), plain.weights(), rtol=1e-4, atol=1e-5)
    assert curve.loss == pytest.approx(expected.loss, rel=1e-4)


def test_an_example_without_any_gradient_still_gets_noise() -> None:
    weight = nn.Parameter(torch.zeros(3))
    other = nn.Parameter(torch.zeros(2))
    rule = PrivateGradient({"weight": weight, "other": other}, clip=1.0, noise_multiplier=1.0, batch_size=1)
    training = TrainSpec(steps=1, batch_size=1, lr=1.0, clip_norm=None)
    fit({"weight": weight, "other": other}, lambda batch: weight.sum()[None], examples=1, training=training, seed=0, gradient=rule)
    assert bool(other.detach().abs().min() > 0)
