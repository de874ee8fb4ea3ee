"""The ablation grids that ship with S2L: what each asks for, small and at the published size."""

from __future__ import annotations

import re

import pytest

from jobs.errors import InputError
from jobs.grid.load import SHIPPED, shipped_profiles
from jobs.grid.presets import DEFENCES, METHODS, PROMPTS
from jobs.grid.read import read_grid
from jobs.plan.expand import expand
from jobs.plan.given import refuse_stand_ins
from jobs.plan.plan import Plan
from s2l_core import tiny
from s2l_core.specs.adapters import GaussianAdapter, LoraAdapter
from tests.stated_inputs import by_method, distinct, parent, score_spec, shake_spec, sp_spec

CHOOSING = "choose-domains"
"""Ships beside the ablations: it fine-tunes nothing, and is run before them."""
ABLATIONS = [name for name, profiles in shipped_profiles().items() if profiles and name != CHOOSING]
NAMELESS = re.compile(r"no prompt of sp_prompts=(attributes|unrelated) holds \{name\}: all domains share one SP set")


def planned(name: str, profile: str = "tiny") -> Plan:
    grid = read_grid(name, (), profile)
    missing = [model for model in grid.axes.get("model", ()) if not model.startswith("to-be-given:") and model not in tiny.catalog()]
    if missing:
        pytest.skip(f"{', '.join(missing)} are not packaged here")
    return expand(grid)


def shaken(plan: Plan, method: str, **axes: object) -> list[LoraAdapter | GaussianAdapter]:
    found = [trial for trial in by_method(plan, method) if all(trial.axes[name] == value for name, value in axes.items())]
    return [shake_spec(trial).adapters[0] for trial in found]  # type: ignore[misc]


def test_these_ablations_ship() -> None:
    assert sorted(ABLATIONS) == [
        *("controls", "defences", "domain-transfer", "gaussian-scale", "lora-rank", "model-scale", "multi-round"),
        *("paper-table1", "prior-knowledge", "sp-size", "steps-lr"),
    ]
    assert all(shipped_profiles()[name] == ["tiny", "published"] for name in (*ABLATIONS, CHOOSING))


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_small_size_has_all_that_it_needs_and_wastes_no_point(name: str) -> None:
    plan = planned(name)
    refuse_stand_ins(plan)
    assert len(plan.axes["domain"]) == 12, "with fewer domains no test over domains can reject"
    assert [notice for notice in plan.notices if not NAMELESS.fullmatch(notice)] == []
    assert all(set(trial.metrics) >= {"secmi", "pia", "loss"} for trial in plan.trials)


@pytest.mark.parametrize("name", [*ABLATIONS, CHOOSING])
def test_the_published_size_asks_for_data_and_model_and_names_nobody(name: str) -> None:
    plan = planned(name, "published")
    assert plan.grid == f"{name}-published"
    assert plan.axes["domain"] == [f"person-{number:02d}" for number in range(1, 41)]
    assert [notice for notice in plan.notices if not NAMELESS.fullmatch(notice)] == []
    with pytest.raises(InputError, match=r"data is to-be-given:people") as caught:
        refuse_stand_ins(plan)
    assert "model is to-be-given:sd-v1-1" in str(caught.value)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_grid_has_its_positive_control(name: str) -> None:
    for profile in ("tiny", "published"):
        assert any(trial.shake and parent_kind(trial.shake) == "data" for trial in planned(name, profile).trials)


def parent_kind(shake: object) -> str | None:
    found = shake.parent("train")  # type: ignore[attr-defined]
    return found.kind if found is not None else None


def test_no_grid_makes_up_a_commit() -> None:
    for path in SHIPPED.rglob("*.yaml"):
        assert not re.search(r"[0-9a-f]{40}", path.read_text()), path.name


def test_the_published_hyperparameters_are_those_of_the_paper() -> None:
    plan = planned("paper-table1", "published")
    batches = {"dreambooth": 4, "end2end": 4, "lora+dreambooth": 2}
    for method, batch in batches.items():
        trial = by_method(plan, method)[0]
        training = shake_spec(trial).training
        assert (training.lr, training.weight_decay, training.clip_norm, training.schedule) == (1e-6, 1e-2, 1.0, "constant")
        assert (training.batch_size, training.steps) == (batch, 2000 // batch * 100)
    synthesis = sp_spec(parent(by_method(plan, "dreambooth")[0].shake, "train")).synthesis
    assert (synthesis.images, synthesis.steps, synthesis.guidance) == (2000, 50, 7.5)
    assert synthesis.prompts == PROMPTS["s2l-paper"].prompts
    attack = score_spec(parent(by_method(plan, "none")[0].metrics["s2l-paper"], "after")).attack
    assert (attack.t, attack.k) == (140, 10)  # type: ignore[union-attr]
    assert shaken(plan, "lora+dreambooth")[0] == LoraAdapter(rank=8, alpha=32)


def test_the_main_table_has_every_method_twice_and_every_control() -> None:
    plan = planned("paper-table1")
    assert plan.axes["method"] == list(METHODS)
    assert len(plan.trials) == 12 * (1 + 2 * (len(METHODS) - 1) + 2 * 3)
    roles = {(trial.axes["method"], trial.axes["train_on"], trial.axes["sigma"]) for trial in plan.trials}
    assert roles >= {("dreambooth", "members", None), ("dreambooth", "unrelated", None), ("gaussian", "sp", "match")}
    assert distinct(plan, "sp") == 12


def test_the_rank_sweep_tells_rank_and_scale_apart() -> None:
    plan = planned("lora-rank")
    scales = {(one.rank, one.alpha) for one in shaken(plan, "lora+dreambooth")}  # type: ignore[union-attr]
    ranks = (1, 2, 4, 8, 16)
    assert scales == {(rank, 32) for rank in ranks} | {(rank, rank) for rank in ranks}
    published = {one.rank for one in shaken(planned("lora-rank", "published"), "lora+dreambooth")}  # type: ignore[union-attr]
    assert published == {1, 2, 4, 8, 16, 32, 64, 128}


def test_noise_of_one_size_is_one_shake_for_all_domains() -> None:
    plan = planned("gaussian-scale", "published")
    assert len({trial.shake for trial in by_method(plan, "gaussian")}) == 3 * 6 * 2


def test_every_model_is_attacked_on_every_domain_under_transfer() -> None:
    plan = planned("domain-transfer")
    pairs = {(trial.axes["domain"], trial.axes["attack_domain"]) for trial in plan.trials}
    assert len(pairs) == 144
    assert distinct(plan, "shake") == 24


def test_three_rounds_cost_three_shakes() -> None:
    plan = planned("multi-round")
    assert distinct(plan, "shake") == 12 * (2 * 3 + 1)


def test_every_defence_is_tried_on_both_methods_that_it_can_serve_and_dp_where_members_are_what_it_protects() -> None:
    for profile in ("tiny", "published"):
        plan = planned("defences", profile)
        tried = {(trial.axes["method"], getattr(shake_spec(trial).defence, "kind", None)) for trial in plan.trials if trial.shake}
        kinds = {preset.spec.kind for preset in DEFENCES.values()} | {None}
        assert tried == {(method, kind) for method in ("dreambooth", "lora+dreambooth") for kind in kinds} - {
            ("lora+dreambooth", "l2-to-base")
        }
        assert all(trial.fidelity is not None for trial in plan.trials), "a defence is not judged by leakage alone"
        controls = {trial.axes["defence"] for trial in plan.trials if trial.axes["train_on"] == "members"}
        assert controls == {"none", "dp-eps8"}
    with pytest.raises(InputError, match=r"public is to-be-given:public: give --set public=FOLDER"):
        refuse_stand_ins(planned("defences", "published"))


@pytest.mark.parametrize(("profile", "domains"), [("tiny", 12), ("published", 40)])
def test_choosing_domains_asks_every_name_and_one_cheap_attack_and_trains_nothing(profile: str, domains: int) -> None:
    plan = planned(CHOOSING, profile)
    assert [set(trial.metrics) for trial in plan.trials] == [{"sima"}] * domains, "one network call an image"
    assert distinct(plan, "memorisation") == domains
    assert not {node.kind for node in plan.nodes()} & {"sp", "shake"}


def test_the_size_of_the_set_leaves_the_length_of_training_alone() -> None:
    for profile, steps in (("tiny", 100), ("published", 50000)):
        trials = [trial for trial in planned("sp-size", profile).trials if trial.axes["sp_size"]]
        assert {shake_spec(trial).training.steps for trial in trials} == {steps}
        assert len({trial.axes["sp_size"] for trial in trials}) >= 5
