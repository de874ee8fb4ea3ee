"""The settings `defence` and `public`: what they add to a shake, what they leave as it was, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import GridError
from jobs.execute.units import make_units
from jobs.grid.presets import DEFENCES
from jobs.grid.read import parse_grid
from jobs.plan.expand import expand
from jobs.plan.graph import ancestors
from jobs.plan.names import stage_names
from jobs.stages.specs import DataStage, DrawnStrangers, PublicFolder
from s2l_core.specs.defences import DpDefence
from tests.stated_inputs import by_method, distinct, parent, plan_of, shake_spec, sp_spec, trial_of

ONE = "fixed: {domain: ada, method: dreambooth, steps: 20, batch: 4}\n"
DRAWN = "name: g\nfixed: {domain: zorvik, method: dreambooth, steps: 20}\n"


def keys(text: str, *sets: str) -> list[str]:
    return [node.key for node in plan_of(text, *sets).nodes()]


# --- what is added ---


def test_without_a_defence_no_key_changes() -> None:
    assert keys(ONE) == keys(ONE, "defence=none")
    assert shake_spec(trial_of(ONE)).defence is None


@pytest.mark.parametrize("name", DEFENCES)
def test_a_defence_is_part_of_what_a_shake_means(name: str) -> None:
    plain, defended = trial_of(ONE), trial_of(ONE, f"defence={name}", "public=somewhere")
    assert shake_spec(defended).defence == DEFENCES[name].spec
    assert defended.shake is not None
    assert plain.shake is not None
    assert defended.shake.key != plain.shake.key
    assert parent(defended.shake, "train").key == parent(plain.shake, "train").key


def test_a_defence_multiplies_shakes_and_shares_everything_before_them() -> None:
    plan = plan_of(
        "fixed: {domain: ada, steps: 20}\naxes: {method: [none, lora], defence: [none, dp-eps8, dp-eps1]}\nwhen: {defence: {method: lora}}\n"
    )
    assert (len(plan.trials), distinct(plan, "shake"), distinct(plan, "sp")) == (4, 3, 1)
    assert [trial.axes["defence"] for trial in by_method(plan, "lora")] == ["none", "dp-eps8", "dp-eps1"]


def test_a_defence_is_spelled_out_and_a_mapping_that_is_a_preset_has_its_name() -> None:
    plan = plan_of(
        ONE.replace("steps: 20", "steps: 20") + "axes: {defence: [{kind: dp, epsilon: 4, delta: 1e-3}, {kind: dp, epsilon: 8}]}\n"
    )
    assert [trial.axes["defence"] for trial in plan.trials] == ["dp(delta=0.001,epsilon=4.0)", "dp-eps8"]
    assert shake_spec(plan.trials[0]).defence == DpDefence(epsilon=4, delta=1e-3)


def test_every_round_is_defended() -> None:
    shake = trial_of(ONE, "defence=dp-eps8", "rounds=2").shake
    assert shake is not None
    drawer = parent(parent(shake, "train"), "shake")
    assert drawer.spec.defence == shake.spec.defence == DEFENCES["dp-eps8"].spec  # type: ignore[attr-defined]


def test_noise_that_is_matched_is_as_long_as_the_defended_shake() -> None:
    text = "fixed: {domain: ada, steps: 20, defence: dp-eps8, sigma: match, method: gaussian, match_method: dreambooth}\n"
    match = parent(trial_of(text).shake, "match")
    assert match.spec.defence == DEFENCES["dp-eps8"].spec  # type: ignore[attr-defined]
    assert shake_spec(trial_of(text)).defence is None


# --- mix and public images ---


def test_mix_takes_the_user_s_public_images() -> None:
    plan = plan_of(ONE, "defence=mix", "public=somewhere")
    (trial,) = plan.trials
    public = parent(trial.shake, "public")
    assert public.spec == DataStage(source=PublicFolder(content="d" * 64))
    assert str(plan.inputs["d" * 64]) == "somewhere"
    assert next(unit for unit in make_units(plan.nodes()) if public in unit.nodes).here, "only the driver is sure to see the folder"


def test_drawn_data_are_mixed_with_drawn_strangers() -> None:
    (trial,) = expand(parse_grid(DRAWN, "g.yaml", ("defence=mix",))).trials
    (asked,) = expand(parse_grid(DRAWN, "g.yaml", ("defence=mix", "public=strangers"))).trials
    assert parent(trial.shake, "public").spec == DataStage(source=DrawnStrangers())
    assert trial.key == asked.key


def test_other_defences_have_no_public_images() -> None:
    assert trial_of(ONE, "defence=dp-eps8", "public=somewhere").key == trial_of(ONE, "defence=dp-eps8").key


# --- reject and the guard's own samples ---


def test_reject_compares_with_what_the_base_draws_itself_from_another_seed() -> None:
    plan = plan_of(ONE, "defence=reject")
    (trial,) = plan.trials
    own, train = parent(trial.shake, "own"), parent(trial.shake, "train")
    assert own.parent("shake") is None
    assert sp_spec(own).synthesis.seed != sp_spec(train).synthesis.seed
    assert sp_spec(own).synthesis.model_copy(update={"seed": 0}) == sp_spec(train).synthesis
    assert stage_names(plan)[own.key] == "sp Ada, as the guard draws it"


def test_the_guard_does_not_know_the_seed_of_the_set() -> None:
    first, second = (parent(trial_of(ONE, "defence=reject", f"sp_seed={seed}").shake, "own") for seed in (0, 5))
    assert first.key == second.key
    same = trial_of(ONE, "defence=reject", "sp_seed=1000003")
    assert sp_spec(parent(same.shake, "own")).synthesis.seed != 1000003


def test_the_guard_draws_by_the_name_that_the_base_knows() -> None:
    trial = trial_of(ONE, "defence=reject", "method=textual-inversion", "rounds=2", "tokens=<ada>")
    assert sp_spec(parent(trial.shake, "own")).synthesis.name == "Ada"
    assert all(node.key != parent(trial.shake, "own").key for node in ancestors([parent(trial.shake, "train")]) if node.kind == "data")


# --- what is refused ---

SEVERAL = "fixed: {domain: ada, steps: 20}\naxes:\n  method: [none, lora, dreambooth]\n"


# ruff: noqa: E501
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ONE.replace("steps: 20", "steps: 20, defence: dp"),
            'g.yaml:2: fixed.defence: unknown defence "dp"; allowed: none, dp-eps8, dp-eps1, clip-noise, l2-to-base, early-stopping, mix, reject; or a mapping such as {kind: dp, epsilon: 4}',
        ),
        (
            ONE.replace("steps: 20", "steps: 20, defence: {kind: dp}"),
            "g.yaml:2: fixed.defence: defence: give exactly one of epsilon and noise_multiplier; got neither",
        ),
        (
            ONE.replace("steps: 20", "steps: 20, defence: {kind: dp, epsilon: 1, noise: 2}"),
            'g.yaml:2: fixed.defence: defence: unknown key "noise"; allowed: kind, sampling, clip, delta, epsilon, noise_multiplier, accountant',
        ),
        (
            SEVERAL + "  defence: [none, dp-eps8]\n",
            "g.yaml:5: axes.defence[1]: defence is given for the method none, which trains nothing; say when it applies: when: {defence: {method: [lora, dreambooth]}}",
        ),
        (
            "fixed: {domain: ada, method: none, defence: dp-eps8}\n",
            "g.yaml:2: fixed.defence: no method of this grid trains anything (none); leave it out",
        ),
        (
            ONE.replace("dreambooth", "lora").replace("steps: 20", "steps: 20, defence: l2-to-base"),
            "g.yaml:2: fixed.defence: the defence l2-to-base serves dense adapters alone, whose weights the base has too; this method trains lora; for a lora raise weight_decay, or say where it applies (when, exclude)",
        ),
        (
            ONE.replace("dreambooth", "end2end").replace("steps: 20", "steps: 20, defence: mix, public: x"),
            "g.yaml:2: fixed.defence: the defence mix does not go with the objective end-to-end: the autoencoder would learn the images as they are",
        ),
        (
            ONE.replace("steps: 20", "steps: 20, data: faces, defence: mix"),
            "g.yaml:2: fixed.defence: the defence mix needs images of nobody concerned; give `public`: an imagefolder of images that show nobody of the data set, or strangers (drawn faces)",
        ),
        (
            ONE.replace("steps: 20", "steps: 20, defence: mix, public: nowhere"),
            "g.yaml:2: fixed.public: there is no folder of public images",
        ),
        (
            ONE.replace("steps: 20", "steps: 20, defence: mix, data: faces, public: ./faces"),
            "g.yaml:2: fixed.public: ./faces is the data set itself, whose images are members and non-members; give others",
        ),
        (
            ONE.replace("steps: 20", "steps: 20, public: x"),
            "g.yaml:2: fixed.public: no point of this grid has the defence mix, which takes it; leave it out",
        ),
        (
            ONE.replace("steps: 20", "steps: 20, public: x")
            + "axes: {defence: [mix, none]}\ninclude:\n  - {defence: dp-eps8, public: y}\n",
            "g.yaml:5: include[0].public: public is given where the defence is dp-eps8, which takes none; say when it applies: when: {public: {defence: mix}}",
        ),
        (
            ONE.replace("steps: 20", "steps: 20, sp_size: 8, defence: {kind: dp, epsilon: 8, delta: 0.2}"),
            "g.yaml:2: fixed.defence: delta is 0.2 and there are 8 images; it must be below 0.12, and should be far below",
        ),
        (
            ONE.replace("steps: 20, batch: 4", "steps: 20, batch: 16, sp_size: 8, defence: dp-eps8"),
            "g.yaml:2: fixed.defence: the defence dp samples batches of 16 from 8 images; make `batch` at most 8",
        ),
        (
            ONE.replace("steps: 20", "steps: 20, precision: fp16, defence: clip-noise"),
            "g.yaml:2: fixed.defence: the defence clip-noise does not go with precision fp16, which scales the loss; use fp32 or bf16",
        ),
        (
            ONE.replace("steps: 20", "steps: 5, defence: early-stopping"),
            "g.yaml:2: fixed.defence: the defence early-stopping measures every 10 steps, and the training has 5; make it longer, or write {kind: early-stopping, every: N} with a smaller N",
        ),
        (
            ONE.replace("steps: 20", "steps: 20, ema: 0.9, defence: early-stopping"),
            "g.yaml:2: fixed.defence: the defence early-stopping and `ema` each say which weights come out; leave one of them out",
        ),
        (
            ONE.replace("steps: 20", "steps: 20, sp_size: 1, defence: early-stopping"),
            "g.yaml:2: fixed.defence: the defence early-stopping would hold out 1 of 1 images and train on none",
        ),
        (
            "fixed: {domain: ada, steps: 20}\naxes: {method: [none, lora]}\nby_method:\n  none: {defence: dp-eps8}\n",
            "g.yaml:5: by_method.none.defence: the method none trains nothing; leave defence out",
        ),
    ],
)
def test_what_a_defence_cannot_serve_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(GridError) as caught:
        plan_of(text)
    assert str(caught.value) == message


def test_narrowing_a_grid_leaves_its_public_images_alone() -> None:
    text = ONE.replace("steps: 20", "steps: 20, public: x") + "axes: {defence: [mix, none]}\n"
    assert trial_of(text, "defence=none").key == trial_of(ONE).key


def test_a_folder_of_public_images_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(GridError, match=r"--set public=.*: fixed.public: there is no folder of public images"):
        expand(parse_grid(DRAWN, "g.yaml", ("defence=mix", f"public={tmp_path / 'no'}")))
