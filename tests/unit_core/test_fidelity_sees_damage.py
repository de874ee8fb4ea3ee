"""A model that has been spoilt is seen to: the packaged tiny model, and the same with noise on its weights."""

from __future__ import annotations

from typing import Any

import torch

from s2l_core import tiny
from s2l_core.faces import IDENTITIES, records
from s2l_core.families.sd import StableDiffusion
from s2l_core.features import load
from s2l_core.fidelity import change, fidelity
from s2l_core.fidelity.identity import judge_of
from s2l_core.randomness import generator
from s2l_core.specs.fidelity import FidelitySpec
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec
from s2l_core.synthesize import synthesize

torch.set_num_threads(1)
NAME = "zorvik"


def test_noise_on_the_weights_costs_identity_and_moves_the_set_away_from_members() -> None:
    spec = FidelitySpec(bootstrap=200, permutations=99, draws=2)
    extractor = load(spec.features)
    data = records(NAME, seed=0, members=24, non_members=24)
    judge = judge_of({name: records(name, seed=101, members=1, non_members=16)[1:] for name in IDENTITIES}, extractor)
    model = StableDiffusion.load(tiny.packaged("tiny"))
    wanted = SynthesisSpec(images=24, prompts=(PromptTemplate(text="photo of {name}"),), name=NAME, steps=6, guidance=2.0)

    def measured() -> dict[str, Any]:
        return fidelity(list(synthesize(model, wanted)), data[:24], data[24:], extractor, spec, judge=judge, name=NAME)

    before = measured()
    for index, weight in enumerate(model.unet.parameters()):
        weight += 0.5 * weight.square().mean().sqrt() * torch.randn(weight.shape, generator=generator("damage", index))
    after = measured()
    found = change(before, after, spec)
    assert before["identity"]["share"] > 0.9
    assert after["identity"]["high"] < before["identity"]["low"]
    assert found["right_identity"]["high"] < 0
    assert found["frechet"]["members"] > before["frechet"]["members"]["value"]
    assert found["nearest_member_pixel_l2"]["low"] > 0
