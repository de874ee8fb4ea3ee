"""Gradient checkpointing: the same bits, activations computed twice, and nothing left on the networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import AdapterSpec
from s2l_core.training.recomputing import recomputing
from tests.adapter_cases import CASES, unchanged
from tests.shake_cases import objective_for, shaken

TRAINED = {name: case.adapters for name, case in CASES.items() if case.trained}


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


@pytest.mark.parametrize("adapters", TRAINED.values(), ids=TRAINED)
def test_a_shake_that_recomputes_gives_the_same_bits(model: StableDiffusion, adapters: tuple[AdapterSpec, ...]) -> None:
    objective = objective_for(adapters)
    plain, curve = shaken(model, adapters, objective)
    again, recomputed = shaken(model, adapters, objective, gradient_checkpointing=True)
    assert recomputed == curve
    assert all(torch.equal(value, again[name]) for name, value in plain.items())


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_every_network_keeps_less_for_the_way_back(model: StableDiffusion, part: str) -> None:
    kept, recomputed = (bytes_kept(model, part, recompute) for recompute in (False, True))
    assert recomputed < 0.7 * kept


def bytes_kept(model: StableDiffusion, part: str, recompute: bool) -> int:
    """What autograd keeps of one forward pass, without the weights."""
    network = model.modules()[part]
    weights = {value.data_ptr() for value in network.parameters()}
    found: dict[int, int] = {}

    def pack(value: torch.Tensor) -> torch.Tensor:
        if value.data_ptr() not in weights:
            found[value.data_ptr()] = value.numel() * value.element_size()
        return value

    network.requires_grad_(True)
    with recomputing([network] if recompute else []), torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        held = forward(model, part)
    network.requires_grad_(False)
    assert held.requires_grad
    return sum(found.values())


def forward(model: StableDiffusion, part: str) -> torch.Tensor:
    if part == "text_encoder":
        return model.encode_text(["photo of ada"])
    if part == "vae":
        return model.vae.decode(model.vae.encode(torch.ones(1, 3, 16, 16)).latent_dist.mean).sample  # type: ignore[no-any-return]
    return model.predict(torch.ones(1, *model.latent_shape), torch.tensor([3]), model.encode_text(["ada"]).detach())


def test_a_network_in_eval_mode_gets_no_dropout_by_it(model: StableDiffusion) -> None:
    attention = [layer for layer in model.text_encoder.modules() if hasattr(layer, "dropout") and not isinstance(layer, nn.Dropout)]
    plain = model.encode_text(["photo of ada"])
    with recomputing([model.text_encoder]):
        assert any(layer.training for layer in model.text_encoder.modules())
        assert not any(layer.training for layer in attention)
        torch.testing.assert_close(model.encode_text(["photo of ada"]), plain, rtol=0, atol=0)


def test_an_exception_leaves_the_networks_as_they_were(model: StableDiffusion) -> None:
    with pytest.raises(KeyboardInterrupt), recomputing(list(model.modules().values())):
        raise KeyboardInterrupt
    # and the fixture compares
