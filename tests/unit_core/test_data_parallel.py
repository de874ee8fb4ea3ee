"""Several processes train what one process trains: the same weights up to rounding, for every adapter, and they end together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from s2l_core.adapters import attach
from s2l_core.specs.training import TrainSpec
from s2l_core.training.accelerated import Accelerated
from s2l_core.training.batch import Batch
from s2l_core.training.errors import GroupBroken
from s2l_core.training.fit import fit
from s2l_core.training.group import ALONE, Alone, Group, sum_gradients
from tests.fit_cases import Stop
from tests.parallel_cases import CASES, Peers, _model, run_case, weights_of

TOLERANCE = 1e-5
"""Of how far training moved the weights, all taken together."""
COARSE = {"bf16": 3e-2}
"""Activations have 8 bits there, and sums of another order round another way."""


@dataclass(frozen=True)
class Deaf(Alone):
    """One of two processes that never hears of the other."""

    size: int = 2


@pytest.fixture(scope="module")
def peers() -> Iterator[Peers]:
    found = Peers()
    yield found
    found.close()


def start_of(name: str) -> dict[str, Tensor]:
    with attach(_model(), CASES[name].adapters, seed=1) as on:
        return {name: parameter.detach().double().clone() for name, parameter in on.parameters().items()}


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5


@pytest.mark.parametrize("name", CASES)
def test_several_processes_give_the_weights_of_one(name: str, peers: Peers) -> None:
    alone = run_case(name)
    expected, start = weights_of(alone), start_of(name)
    with peers.group(CASES[name].size, name) as group:
        shared = run_case(name, group)
        assert peers.answers(CASES[name].size) == ["done"] * (CASES[name].size - 1)
    tolerance = COARSE.get(name, TOLERANCE)
    assert apart(weights_of(shared), expected) <= tolerance * apart(expected, start)
    assert shared.curve.loss == pytest.approx(alone.curve.loss, rel=tolerance)
    assert shared.curve.grad_norm == pytest.approx(alone.curve.grad_norm, rel=tolerance)
    assert shared.curve.step == alone.curve.step
    assert {key: type(value) for key, value in shared.facts.items()} == {key: type(value) for key, value in alone.facts.items()}


@pytest.mark.parametrize("name", ["dense", "lora", "token", "hypernetwork", "batch of 3 on 2", "clip-noise"])
def test_a_process_that_hears_of_no_other_is_far_from_that(name: str) -> None:
    expected = weights_of(run_case(name))
    assert apart(weights_of(run_case(name, Deaf())), expected) > 1000 * TOLERANCE * apart(expected, start_of(name))


def test_the_fit_that_is_to_end_early_does(peers: Peers) -> None:
    assert len(run_case("early stopping").curve.step) < 8


def test_as_many_processes_give_the_same_bits_again(peers: Peers) -> None:
    found = []
    for _ in range(2):
        with peers.group(2, "batch of 3 on 2") as group:
            found.append(weights_of(run_case("batch of 3 on 2", group)))
            peers.answers(2)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
@pytest.mark.parametrize("name", ["average of weights", "early stopping"])
def test_a_stopped_fit_goes_on_with_more_or_fewer_processes(name: str, before: int, after: int, tmp_path: Path, peers: Peers) -> None:
    expected, start = weights_of(run_case(name)), start_of(name)
    with pytest.raises(Stop):
        in_processes(peers, before, name, tmp_path, stop=2)
    assert any(tmp_path.iterdir())
    assert apart(in_processes(peers, after, name, tmp_path), expected) <= TOLERANCE * apart(expected, start)


def in_processes(peers: Peers, size: int, name: str, folder: Path, stop: int | None = None) -> dict[str, Tensor]:
    if size == 1:
        return weights_of(run_case(name, folder=str(folder), stop=stop))
    try:
        with peers.group(size, name) as group:
            return weights_of(run_case(name, group, folder=str(folder), stop=stop))
    finally:
        peers.answers(size)


def test_a_process_that_dies_ends_the_fit_of_the_others_and_leaves_the_model_as_it_was(peers: Peers) -> None:
    before = start_of("dense")
    with peers.group(2, "dense") as group, pytest.raises(GroupBroken, match="process 1 of 2 of this fit cannot reach the others"):
        run_case_after_death(peers, group)
    after = start_of("dense")
    assert all(torch.equal(before[name], after[name]) for name in before)


def run_case_after_death(peers: Peers, group: Group) -> None:
    peers.kill(1)
    run_case("dense", group)


def test_a_failure_of_the_first_process_is_told_to_the_others(peers: Peers) -> None:
    with pytest.raises(Stop), peers.group(2, "lora") as group:
        run_case("lora", group, stop=1)
    (told,) = peers.answers(2)
    assert told.startswith("GroupBroken: process 2 of 2 of this fit cannot reach the others any more")


# --- parts ---


@pytest.mark.parametrize("length", [0, 1, 3, 4, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_shares_of_a_batch_are_the_batch(length: int, size: int) -> None:
    batch = Batch(0, torch.arange(length) + 10, torch.arange(length), length, seed=1)
    shares = [batch.share(rank, size) for rank in range(size)]
    assert torch.cat([share.indices for share in shares]).tolist() == batch.indices.tolist()
    assert torch.equal(torch.cat([share.noise((2,)) for share in shares]), batch.noise((2,)))
    assert max(len(share.indices) for share in shares) - min(len(share.indices) for share in shares) <= 1


class Elsewhere(Alone):
    """Two processes of which the other had a gradient for every parameter but the last."""

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        if len(tensors) == 1 and tensors[0].dtype == torch.float64:
            tensors[0][1:-1] += 1.0


def test_a_parameter_without_a_gradient_anywhere_stays_without_one() -> None:
    parameters = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    parameters[0].grad = torch.ones(2)
    assert sum_gradients(Elsewhere(0, 2), parameters, 1.5) == 1.5
    assert parameters[1].grad is not None
    assert parameters[1].grad.tolist() == [0.0, 0.0]
    assert parameters[2].grad is None


def test_processes_draw_their_dropout_from_streams_of_their_own() -> None:
    drawn = []
    for rank in (0, 1, 0):
        with Accelerated([nn.Parameter(torch.ones(1))], TrainSpec(), "cpu", Alone(rank, 2)) as run, run.seeded(1, 2):
            drawn.append(torch.rand(3))
    with Accelerated([nn.Parameter(torch.ones(1))], TrainSpec(), "cpu", ALONE) as run, run.seeded(1, 2):
        alone = torch.rand(3)
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[0], alone)
    assert not torch.equal(drawn[0], drawn[1])


def test_companions_are_the_affair_of_the_first_process() -> None:
    class Told:
        name = "told"

        def __init__(self) -> None:
            self.calls: list[str] = []

        def begin(self) -> None:
            self.calls.append("begin")

        def after(self, step: int) -> bool:
            self.calls.append("after")
            return False

        def end(self) -> None:
            self.calls.append("end")

        def tensors(self) -> dict[str, Tensor]:
            return {}

        def load(self, tensors: object) -> None:
            self.calls.append("load")

    for rank, expected in ((0, ["begin", "after", "end"]), (1, [])):
        weight, told = nn.Parameter(torch.ones(1)), Told()

        def loss(batch: Batch, weight: nn.Parameter = weight) -> Tensor:
            return weight.square().expand(len(batch.indices))

        group = Alone(rank, 2)
        fit({"weight": weight}, loss, examples=2, training=TrainSpec(steps=1), seed=0, companions=[told], group=group)
        assert told.calls == expected
