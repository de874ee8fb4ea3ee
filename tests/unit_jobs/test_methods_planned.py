"""The paper's methods as plans: what each trains, how its settings apply, and in which ways it is attacked."""

from __future__ import annotations

import pytest

from jobs.errors import GridError
from jobs.grid.presets import METHODS
from jobs.stages.specs import ScoreStage
from s2l_core.specs.adapters import DenseAdapter, GaussianAdapter, HypernetworkAdapter, LoraAdapter, TextualInversionAdapter
from s2l_core.specs.captions import DomainPrompt, NullCaption, OwnCaption, ReplaceName
from s2l_core.specs.objectives import DenoiseObjective, DreamBoothObjective, EndToEndObjective, TemplatesObjective
from s2l_core.specs.training import TrainSpec
from tests.stated_inputs import after, before, by_method, distinct, parent, plan_of, score_spec, shake_spec, sp_spec, trial_of

ADA = "fixed: {domain: ada, method: METHOD, attacks: [loss]}"


def one(method: str, *sets: str) -> str:
    return ADA.replace("METHOD", method)


# --- presets ---


@pytest.mark.parametrize(
    ("method", "adapters", "objective", "lr", "batch"),
    [
        ("dreambooth", (DenseAdapter(modules=("unet", "text_encoder")),), DreamBoothObjective(), 1e-6, 4),
        ("end2end", (DenseAdapter(modules=("unet", "text_encoder", "vae")),), EndToEndObjective(), 1e-6, 4),
        ("lora", (LoraAdapter(),), DenoiseObjective(), 1e-6, 4),
        ("lora+dreambooth", (LoraAdapter(),), DreamBoothObjective(), 1e-6, 2),
        ("textual-inversion", (TextualInversionAdapter(),), TemplatesObjective(), 5e-4, 4),
        ("textual-inversion+lora", (TextualInversionAdapter(), LoraAdapter()), TemplatesObjective(), 1e-6, 4),
        ("textual-inversion+dreambooth", (TextualInversionAdapter(), DenseAdapter()), DreamBoothObjective(), 1e-6, 4),
        ("hypernetwork", (HypernetworkAdapter(),), DenoiseObjective(), 1e-5, 4),
        ("hypernetwork+dreambooth", (HypernetworkAdapter(),), DreamBoothObjective(), 1e-5, 4),
    ],
)
def test_a_preset_is_adapters_and_objective_with_its_learning_rate(
    method: str, adapters: object, objective: object, lr: float, batch: int
) -> None:
    spec = shake_spec(trial_of(one(method)))
    assert (spec.adapters, spec.objective) == (adapters, objective)
    assert (spec.training.lr, spec.training.batch_size) == (lr, batch)


def test_every_row_of_the_paper_s_method_axis_is_a_preset() -> None:
    assert set(METHODS) == {
        *("none", "dreambooth", "end2end", "lora", "lora+dreambooth", "gaussian"),
        *("textual-inversion", "textual-inversion+lora", "textual-inversion+dreambooth"),
        *("hypernetwork", "hypernetwork+dreambooth"),
    }


# --- settings ---


def test_settings_of_training_reach_the_shake() -> None:
    settings = "schedule: cosine, warmup: 5, optimizer: adamw8bit, weight_decay: 0.1, clip: none, ema: 0.9, snr_gamma: 5, steps: 20"
    training = shake_spec(trial_of(one("lora").replace("}", f", {settings}}}"))).training
    assert training == TrainSpec(
        steps=20,
        schedule="cosine",
        warmup_steps=5,
        optimizer="adamw8bit",
        weight_decay=0.1,
        clip_norm=None,
        ema=0.9,
        snr_gamma=5,
    )


def test_the_published_training_is_what_stands_where_nothing_is_given() -> None:
    training = shake_spec(trial_of(one("dreambooth"))).training
    assert (training.schedule, training.warmup_steps, training.optimizer, training.ema, training.snr_gamma) == (
        *("constant", 0, "adamw"),
        *(None, None),
    )
    assert (training.weight_decay, training.clip_norm) == (1e-2, 1.0)


def test_tokens_and_their_start_reach_the_adapter() -> None:
    trial = trial_of(one("textual-inversion").replace("}", ", tokens: [<a>, <b>], start_from: face}"))
    assert shake_spec(trial).adapters == (TextualInversionAdapter(tokens=("<a>", "<b>"), start_from="face"),)


def test_tokens_can_be_an_axis() -> None:
    plan = plan_of("fixed: {domain: ada, method: textual-inversion}\naxes: {tokens: [<a>, [<a>, <b>]]}")
    assert plan.axes["tokens"] == ["<a>", "<a> <b>"]


def test_noise_settings_reach_the_adapter() -> None:
    trial = trial_of(one("gaussian").replace("}", ", sigma: 0.2, noise_scale: absolute, noise_layers: attention}"))
    assert shake_spec(trial).adapters == (GaussianAdapter(sigma=0.2, scale="absolute", layers="attention"),)


def test_fixed_settings_are_left_aside_where_they_do_not_bear() -> None:
    text = "fixed: {FIXEDdomain: ada, attacks: [loss]}\naxes: {method: [lora, textual-inversion, gaussian]}"
    fixed = "rank: 3, tokens: <x>, sigma: 0.5, "
    bare, given = (plan_of(text.replace("FIXED", more)) for more in ("", fixed))
    assert [shake_spec(trial).adapters for trial in given.trials] == [
        (LoraAdapter(rank=3),),
        (TextualInversionAdapter(tokens=("<x>",)),),
        (GaussianAdapter(sigma=0.5),),
    ]
    assert not {trial.key for trial in bare.trials} & {trial.key for trial in given.trials}


def test_a_method_s_own_settings_stand_in_place_of_fixed_values() -> None:
    text = "fixed: {domain: ada, lr: 1e-3, attacks: [loss]}\naxes: {method: [lora, textual-inversion, hypernetwork]}\n"
    text += "by_method: {textual-inversion: {lr: 5e-3, steps: 7}, hypernetwork: {lr: 1e-2}}\n"
    assert [shake_spec(trial).training.lr for trial in plan_of(text).trials] == [1e-3, 5e-3, 1e-2]
    assert [shake_spec(trial).training.lr for trial in plan_of(text, "lr=1e-4").trials] == [1e-4] * 3, "--set holds for all methods"
    added = plan_of(text + "include: [{method: textual-inversion, lr: 0.5}]").trials[-1]
    assert (shake_spec(added).training.lr, shake_spec(added).training.steps) == (0.5, 7), "what a point names itself stands"


# --- noise ---


def test_noise_needs_no_images_and_domains_share_it() -> None:
    plan = plan_of("axes: {domain: [ada, bo], method: [gaussian], train_on: [sp, members], sp_size: [9, 10], lr: [1, 2], rounds: [1, 2]}")
    assert len(plan.trials) == 2
    (shake,) = {trial.shake for trial in plan.trials}
    assert shake is not None
    assert [role for role, _ in shake.parents] == ["base"]
    assert distinct(plan, "sp") == 0
    assert "mean the same" in plan.notices[0]


def test_noise_of_another_seed_or_size_is_another() -> None:
    assert distinct(plan_of("fixed: {domain: ada, method: gaussian}\naxes: {seed: [0, 1], sigma: [0.1, 0.2]}"), "shake") == 4


def test_matched_noise_hangs_on_the_shake_that_the_grid_trains_anyway() -> None:
    plan = plan_of("fixed: {sigma: match, attacks: [loss]}\naxes: {domain: [ada, bo], method: [gaussian, dreambooth], seed: [0, 1]}")
    for noise, trained in zip(by_method(plan, "gaussian"), by_method(plan, "dreambooth"), strict=True):
        assert [role for role, _ in noise.shake.parents] == ["base", "match"]  # type: ignore[union-attr]
        assert parent(noise.shake, "match") is trained.shake
    assert distinct(plan, "shake") == 8


def test_noise_is_matched_to_the_named_method_with_that_method_s_settings() -> None:
    text = "fixed: {domain: ada, match_method: lora, lr: 1e-3, rank: 2}\naxes: {sigma: [match, 0.1], method: [gaussian]}\n"
    noise = plan_of(text).trials[0]
    matched = parent(noise.shake, "match")
    assert matched == plan_of("fixed: {domain: ada, method: lora, lr: 1e-3, rank: 2}").trials[0].shake


def test_matched_noise_is_where_the_other_method_changes_weights() -> None:
    text = (
        "fixed: {domain: ada, sigma: match, alpha: rank}\naxes: {method: [gaussian], match_method: [dreambooth, end2end, lora, ON_UNET]}\n"
    )
    on_unet = "{adapters: [{kind: lora, text_encoder_targets: []}]}"
    found = [shake_spec(trial).adapters[0] for trial in plan_of(text.replace("ON_UNET", on_unet)).trials]
    both = ("unet", "text_encoder")
    assert [adapter.modules for adapter in found] == [both, (*both, "vae"), both, ("unet",)]  # type: ignore[union-attr]
    spelled = "fixed: {domain: ada, method: {adapters: [{kind: gaussian, sigma: match, modules: [text_encoder]}]}}"
    assert shake_spec(plan_of(spelled).trials[0]).adapters[0].modules == ("text_encoder",)  # type: ignore[union-attr]


def test_a_point_of_noise_says_which_setting_of_the_other_method_is_meant() -> None:
    swept = "axes: {domain: [ada], method: [lora], rank: [2, 4]}\nwhen: {rank: {method: [lora]}}\nfixed: {alpha: rank}\n"
    noise = "include: [{method: gaussian, sigma: match, match_method: lora, rank: 2}]"
    plan = plan_of(swept + noise)
    (trial,) = by_method(plan, "gaussian")
    small = next(other for other in by_method(plan, "lora") if other.axes["rank"] == 2)
    assert parent(trial.shake, "match") is small.shake
    with pytest.raises(
        GridError, match=r"axes\.rank: noise with `sigma: match` is as long as what lora changes, and which rank it has there"
    ):
        plan_of(swept + noise.replace(", rank: 2", ""))


@pytest.mark.parametrize(
    ("conditional", "axes"),
    [
        ("lr: 1e-4", ""),
        ("rank: 2", ""),
        ("train_on: members", ""),
        ("defence: clip-noise", ""),
        ("", "lr: [1e-4]"),
    ],
)
def test_noise_is_matched_under_the_conditions_of_the_other_method(conditional: str, axes: str) -> None:
    name = (conditional or axes).split(":")[0]
    fixed = f"domain: ada, sigma: match, match_method: lora, steps: 10{', ' if conditional else ''}{conditional}"
    text = f"fixed: {{{fixed}}}\naxes: {{method: [lora, gaussian, none]{', ' if axes else ''}{axes}}}\nwhen: {{{name}: {{method: lora}}}}"
    plan = plan_of(text)
    (trained,), (noise,) = by_method(plan, "lora"), by_method(plan, "gaussian")
    assert parent(noise.shake, "match") is trained.shake


def test_noise_in_modules_that_the_other_leaves_is_none() -> None:
    spelled = "{adapters: [{kind: gaussian, sigma: match, modules: [vae, unet]}]}"
    (trial,) = plan_of(f"fixed: {{domain: ada, attacks: [loss], match_method: dreambooth, method: {spelled}}}").trials
    assert shake_spec(trial).adapters[0].modules == ("unet",)  # type: ignore[union-attr]
    assert set(trial.metrics) == {"loss"}, "the autoencoder is the base's, so that no attack asks for it"


def test_what_means_the_same_is_one_shake() -> None:
    one = "{adapters: [{kind: dense, modules: [text_encoder, unet, unet]}]}"
    other = "{adapters: [{kind: dense, modules: [unet, text_encoder]}]}"
    first, second = (plan_of(f"fixed: {{domain: ada, method: {method}}}").trials[0].shake for method in (one, other))
    assert first is not None
    assert second is not None
    assert first.key == second.key
    loras = [f"{{adapters: [{{kind: lora, unet_targets: {targets}}}]}}" for targets in ("[to_v, to_q, to_v]", "[to_q, to_v]")]
    keys = {plan_of(f"fixed: {{domain: ada, method: {method}}}").trials[0].shake.key for method in loras}  # type: ignore[union-attr]
    assert len(keys) == 1


def test_shakes_on_sets_that_show_nobody_s_name_are_one_for_all_domains() -> None:
    text = "fixed: {sp_prompts: [photo of a toy]}\naxes: {domain: [ada, bo], method: [lora, dreambooth]}"
    plan = plan_of(text)
    assert len({trial.shake.key for trial in by_method(plan, "lora") if trial.shake}) == 1
    assert len({trial.shake.key for trial in by_method(plan, "dreambooth") if trial.shake}) == 2, "its own prompt names the person"


def test_by_method_reaches_what_noise_is_matched_to() -> None:
    text = "fixed: {domain: ada, sigma: match, lr: 1e-3}\naxes: {method: [gaussian, dreambooth]}\n"
    text += "by_method: {dreambooth: {lr: 0.5}, gaussian: {lr: 0.25, sp_size: 3}}"
    noise, trained = plan_of(text).trials
    assert parent(noise.shake, "match") is trained.shake
    assert shake_spec(trained).training.lr == 0.5


# --- attacked with the token, and with both autoencoders ---


def test_a_trained_token_takes_the_name_s_place_and_the_own_caption_is_attacked_too() -> None:
    trial = trial_of(one("textual-inversion"))
    assert list(trial.metrics) == ["loss", "loss@own-caption"]
    assert score_spec(after(trial, "loss")).caption == ReplaceName(name="Ada", token="<s2l>")
    assert score_spec(after(trial, "loss@own-caption")).caption == OwnCaption()
    assert before(trial, "loss") is before(trial, "loss@own-caption")
    assert score_spec(before(trial, "loss")) == ScoreStage(attack=score_spec(before(trial, "loss")).attack)


def test_in_a_domain_prompt_the_token_is_the_name() -> None:
    trial = trial_of(one("textual-inversion+lora").replace("}", ", caption: domain, tokens: [<a>, <b>]}"))
    assert [(score_spec(node).caption, score_spec(node).name) for node in (after(trial, "loss"), after(trial, "loss@own-caption"))] == [
        (DomainPrompt(), "<a> <b>"),
        (DomainPrompt(), "Ada"),
    ]
    assert score_spec(before(trial, "loss")).name == "Ada"


def test_a_caption_without_a_name_is_attacked_once() -> None:
    trial = trial_of(one("textual-inversion+dreambooth").replace("}", ", caption: null}"))
    assert list(trial.metrics) == ["loss"]
    assert score_spec(after(trial, "loss")).caption == NullCaption()


def test_a_trained_autoencoder_is_attacked_and_the_base_s_once_more() -> None:
    trial = trial_of(one("end2end"))
    assert list(trial.metrics) == ["loss", "loss@base-vae"]
    assert [score_spec(after(trial, leaf)).autoencoder for leaf in trial.metrics] == ["own", "base"]
    assert before(trial, "loss") is before(trial, "loss@base-vae")
    assert score_spec(before(trial, "loss")).autoencoder == "own"


@pytest.mark.parametrize(
    "method",
    [
        "{adapters: [{kind: lora, vae_targets: [to_q]}], objective: {kind: end-to-end}}",
        "{adapters: [{kind: gaussian, modules: [unet, vae]}]}",
    ],
)
def test_whatever_changes_the_autoencoder_is_attacked_in_both_ways(method: str) -> None:
    assert list(trial_of(one(method)).metrics) == ["loss", "loss@base-vae"]


def test_a_token_and_an_autoencoder_make_three_ways() -> None:
    method = "{adapters: [{kind: textual-inversion}, {kind: dense, modules: [vae]}], objective: {kind: end-to-end}}"
    trial = trial_of(one(method))
    assert list(trial.metrics) == ["loss", "loss@own-caption", "loss@base-vae"]
    assert score_spec(after(trial, "loss@base-vae")).caption == ReplaceName(name="Ada", token="<s2l>")


def test_other_methods_are_attacked_once() -> None:
    plan = plan_of("fixed: {domain: ada, attacks: [loss]}\naxes: {method: [none, dreambooth, lora, hypernetwork, gaussian]}")
    assert all(list(trial.metrics) == ["loss"] for trial in plan.trials)


def test_every_way_is_pooled_over_domains() -> None:
    plan = plan_of("fixed: {attacks: [loss]}\naxes: {domain: [ada, bo], method: [textual-inversion, end2end, none]}")
    assert [(pool.axes["method"], pool.attack) for pool in plan.pools] == [
        ("textual-inversion", "loss"),
        ("textual-inversion", "loss@own-caption"),
        ("end2end", "loss"),
        ("end2end", "loss@base-vae"),
        ("none", "loss"),
    ]


# --- rounds ---


def test_the_shaken_model_draws_the_next_round_s_set_and_the_base_is_shaken_anew() -> None:
    third = plan_of(one("dreambooth").replace("}", ", rounds: 3}")).trials[0].shake
    for _ in range(2):
        assert third is not None
        assert [role for role, _ in third.parents] == ["base", "train"]
        drawn = parent(third, "train")
        assert [(role, node.kind) for role, node in drawn.parents] == [("base", "base"), ("shake", "shake")]
        third = parent(drawn, "shake")
    assert [role for role, _ in parent(third, "train").parents] == ["base"]


def test_rounds_share_the_rounds_before() -> None:
    plan = plan_of("fixed: {domain: ada, method: dreambooth}\naxes: {rounds: [1, 2, 3]}")
    assert (len(plan.trials), distinct(plan, "sp"), distinct(plan, "shake")) == (3, 3, 3)


def test_a_model_that_learned_a_token_draws_the_next_set_with_it() -> None:
    trial = trial_of(one("textual-inversion").replace("}", ", rounds: 2}"))
    drawn = parent(trial.shake, "train")
    assert sp_spec(drawn).synthesis.name == "<s2l>"
    assert sp_spec(parent(parent(drawn, "shake"), "train")).synthesis.name == "Ada"
    assert shake_spec(trial).name == "<s2l>", "so the prompts of the set are called by its name"


def test_there_is_one_round_on_the_true_members() -> None:
    plan = plan_of("fixed: {domain: ada, method: dreambooth, train_on: members}\naxes: {rounds: [1, 2]}")
    assert len(plan.trials) == 1


# --- domain transfer ---


def test_one_shake_is_attacked_on_many_domains() -> None:
    plan = plan_of("fixed: {domain: ada, method: lora, attacks: [loss]}\naxes: {attack_domain: [ada, bo, cy]}")
    assert (len(plan.trials), distinct(plan, "shake"), distinct(plan, "sp"), distinct(plan, "score")) == (3, 1, 1, 6)
    for trial in plan.trials:
        attacked = trial.axes["attack_domain"]
        assert {parent(node, "data").spec.source.domain for node in (before(trial, "loss"), after(trial, "loss"))} == {attacked}  # type: ignore[attr-defined]
        assert parent(trial.blind, "data") is parent(after(trial, "loss"), "data")


def test_the_domain_itself_as_attacked_domain_is_the_trial_without_one() -> None:
    assert trial_of(one("lora").replace("}", ", attack_domain: ada}")).key == trial_of(one("lora")).key


def test_captions_call_the_attacked_domain_by_its_name() -> None:
    prompt = trial_of(one("lora").replace("}", ", attack_domain: bo, caption: domain}"))
    assert score_spec(after(prompt, "loss")).name == "Bo"
    token = trial_of(one("textual-inversion").replace("}", ", attack_domain: bo}"))
    assert score_spec(after(token, "loss")).caption == ReplaceName(name="Bo", token="<s2l>")


def test_transferred_trials_are_pooled_apart_from_a_domain_s_own() -> None:
    plan = plan_of("fixed: {method: lora, attacks: [loss]}\naxes: {domain: [ada, bo], attack_domain: [ada, bo, cy]}")
    assert [(pool.axes, len(pool.trials)) for pool in plan.pools] == [
        ({"attack_domain": "own"}, 2),
        ({"attack_domain": "other"}, 4),
    ]


# --- prompts ---


def test_without_a_name_in_any_prompt_domains_share_one_set_and_the_plan_says_so() -> None:
    plan = plan_of("fixed: {method: dreambooth, sp_prompts: unrelated}\naxes: {domain: [ada, bo]}")
    assert (distinct(plan, "sp"), distinct(plan, "shake")) == (1, 2)
    assert plan.notices == ["no prompt of sp_prompts=unrelated holds {name}: all domains share one SP set"]


def test_one_prompt_with_the_name_is_enough() -> None:
    plan = plan_of("fixed: {method: lora, sp_prompts: [a toy, 'photo of {name}']}\naxes: {domain: [ada, bo]}")
    assert (distinct(plan, "sp"), plan.notices) == (2, [])


def test_the_published_mix_brings_its_negative_prompt_unless_one_is_given() -> None:
    own, given = (
        sp_spec(parent(trial_of(one("lora").replace("}", f", sp_prompts: s2l-paper{more}}}")).shake, "train")).synthesis
        for more in ("", ", negative_prompt: ''")
    )
    assert [template.weight for template in own.prompts] == [7, 3]
    assert "blurry" in own.negative_prompt
    assert given.negative_prompt == ""


def test_the_set_can_be_drawn_by_the_model_s_own_sampler() -> None:
    trial = trial_of(one("lora").replace("}", ", sp_scheduler: model}"))
    assert sp_spec(parent(trial.shake, "train")).synthesis.scheduler == "model"


def test_a_token_that_has_no_place_in_the_set_s_prompts_is_refused() -> None:
    method = "{name: denoised, adapters: [{kind: textual-inversion}], objective: {kind: denoise}}"
    with pytest.raises(
        GridError, match=r"fixed\.sp_prompts: no prompt of unrelated holds \{name\}, so that the token <s2l> of the method denoised"
    ):
        plan_of(one(method).replace("attacks: [loss]}", "attacks: [loss], sp_prompts: unrelated}"))
    assert plan_of(one(method)).trials
    assert trial_of(one("textual-inversion").replace("attacks: [loss]}", "attacks: [loss], sp_prompts: unrelated}"))
