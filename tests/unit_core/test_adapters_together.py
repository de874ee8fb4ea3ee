"""Which adapters go together, in which order, and what is said when they do not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from s2l_core.adapters import attach
from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import DenseAdapter, GaussianAdapter, LoraAdapter, NoAdapter, check_together
from tests.adapter_cases import HYPER, LORA, TOKEN, WITH_TOKEN, disturb, output, unchanged

DENSE, GAUSSIAN, NONE = DenseAdapter(), GaussianAdapter(), NoAdapter()


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


@pytest.mark.parametrize(
    ("adapters", "message"),
    [
        ((LORA, LoraAdapter(rank=1)), "adapter lora is given twice; allowed: each kind once"),
        ((LORA, DENSE), "adapter dense comes after lora and would train its layers too; give dense first"),
        ((HYPER, LORA), "adapter lora comes after hypernetwork and would not see what it makes of the context; give lora first"),
        ((LORA, GAUSSIAN), "adapter gaussian is noise in place of training and stands alone; got it with lora; leave one of them out"),
        ((GAUSSIAN, TOKEN, LORA), "adapter gaussian is noise in place of training and stands alone; got it with textual-inversion, lora"),
        ((NONE, DENSE), "adapter none trains nothing and stands alone; got it with dense; leave one of them out"),
        ((GAUSSIAN, NONE), "adapter none trains nothing and stands alone; got it with gaussian"),
    ],
)
def test_adapters_that_do_not_go_together_are_refused(model: StableDiffusion, adapters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attach(model, adapters, seed=0)
    with pytest.raises(ValueError, match=message):
        check_together(adapters)


def test_every_other_order_of_what_is_trained_is_taken(model: StableDiffusion) -> None:
    taken = set()
    for size in (1, 2, 3, 4):
        for order in itertools.permutations((DENSE, LORA, TOKEN, HYPER), size):
            kinds = [adapter.kind for adapter in order]
            refused = before(kinds, "lora", "dense") or before(kinds, "hypernetwork", "lora")
            if refused:
                with pytest.raises(ValueError, match=r"give (dense|lora) first"):
                    check_together(order)
                continue
            with attach(model, order, seed=0) as on:
                assert all(any(mark in name for name in on.parameters()) for mark in map(MARKS.__getitem__, kinds))
                taken.add(tuple(kinds))
    assert ("textual-inversion", "dense", "lora", "hypernetwork") in taken


MARKS = {"dense": "unet.conv_in.", "lora": ".lora_A.", "textual-inversion": ".learned_embeds.", "hypernetwork": ".hypernetwork."}


def before(kinds: list[str], first: str, second: str) -> bool:
    return first in kinds and second in kinds and kinds.index(first) < kinds.index(second)


def test_no_two_parameters_of_a_combination_share_a_name(model: StableDiffusion) -> None:
    alone = 0
    for adapter in (DENSE, LORA, TOKEN, HYPER):
        with attach(model, (adapter,), seed=0) as on:
            alone += len(on.parameters())
    with attach(model, (TOKEN, DENSE, LORA, HYPER), seed=0) as on:
        assert len(on.parameters()) == alone
        assert len(on.files()) == 2 + 1 + 1 + 1


@pytest.mark.parametrize(
    "pair", [(TOKEN, DENSE), (TOKEN, LORA), (TOKEN, HYPER), (HYPER, DENSE)], ids=lambda pair: "+".join(one.kind for one in pair)
)
def test_where_both_orders_are_allowed_they_give_the_same_model(model: StableDiffusion, pair: Any) -> None:
    made = []
    for order in (pair, pair[::-1]):
        with attach(model, order, seed=4) as on:
            disturb(on)
            made.append(output(model, WITH_TOKEN))
    assert torch.equal(*made)
