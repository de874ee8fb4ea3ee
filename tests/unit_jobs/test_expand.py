"""From a grid to a plan: which stages there are, which trials share them, and what a key depends on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from jobs.errors import GridError, InputError
from jobs.grid.read import parse_grid, read_grid
from jobs.grid.registered import plans_of
from jobs.keys import canonical_json, stage_key
from jobs.plan.expand import expand
from jobs.plan.graph import SpecText
from jobs.stages.specs import MetricsStage, ScoreStage, ShakeStage, SpStage
from s2l_core.specs.adapters import DenseAdapter, LoraAdapter
from s2l_core.specs.objectives import DreamBoothObjective
from tests.stated_inputs import StatedInputs, distinct, plan_of, shake_spec

AXES = "axes:\n  domain: [ada, bo]\n  method: [none, dreambooth, lora]\n"


def shake_of(text: str) -> ShakeStage:
    return shake_spec(plan_of(text).trials[0])


# --- the graph ---


def test_stages_have_the_parents_that_their_kinds_ask_for() -> None:
    plan = plan_of(AXES + "include: [{method: dreambooth, prior: true}]")
    seen: dict[str, set[tuple[str, ...]]] = {}
    for node in plan.nodes():
        seen.setdefault(node.kind, set()).add(tuple(f"{role}:{parent.kind}" for role, parent in node.parents))
    pairs = ("before:score", "after:score")
    assert seen == {
        "data": {()},
        "base": {()},
        "sp": {("base:base",)},
        "prior": {("base:base",)},
        "shake": {("base:base", "train:sp"), ("base:base", "train:sp", "prior:prior")},
        "score": {("base:base", "data:data"), ("base:base", "shake:shake", "data:data")},
        "blind": {("data:data",)},
        "metrics": {pairs},
        "pooled": {pairs * 2},
    }


def test_parents_come_before_children_and_each_stage_once() -> None:
    nodes = plan_of(AXES).nodes()
    place = {node.key: position for position, node in enumerate(nodes)}
    assert len(place) == len(nodes)
    assert all(place[parent.key] < place[node.key] for node in nodes for _, parent in node.parents)


def test_before_is_the_same_stage_for_all_methods_and_seeds() -> None:
    plan = plan_of(AXES + "  seed: [0, 1]")
    ada = [trial for trial in plan.trials if trial.axes["domain"] == "ada"]
    assert len({trial.metrics["loss"].parents[0][1].key for trial in ada}) == 1
    assert distinct(plan, "score") == 2 * 3 + 2 * 2 * 2 * 3


def test_the_baseline_compares_before_with_itself() -> None:
    (trial,) = plan_of("fixed: {domain: ada, method: none, attacks: [loss]}").trials
    assert trial.shake is None
    (_, before), (_, after) = trial.metrics["loss"].parents
    assert before is after


def test_methods_and_seeds_share_one_sp_set_per_domain() -> None:
    assert distinct(plan_of(AXES + "  seed: [0, 1, 2]"), "sp") == 2


def test_class_images_are_shared_by_domains() -> None:
    assert distinct(plan_of("fixed: {method: dreambooth, prior: {images: 9}}\naxes: {domain: [ada, bo], seed: [0, 1]}"), "prior") == 1


def test_every_trial_hangs_on_its_own_domain_s_blind_baseline() -> None:
    plan = plan_of(AXES)
    assert distinct(plan, "blind") == 2
    assert all(
        trial.blind is not None and trial.blind.parent("data") is trial.metrics["pia"].parents[0][1].parent("data") for trial in plan.trials
    )


def test_prompts_call_a_domain_by_its_name() -> None:
    sp = plan_of("fixed: {domain: ada, method: lora}").trials[0].shake.parent("train")  # type: ignore[union-attr]
    assert sp is not None
    assert isinstance(sp.spec, SpStage)
    assert sp.spec.synthesis.name == "Ada"


# --- what is trained, and on what ---


def test_presets_carry_the_published_settings() -> None:
    spec = shake_of("fixed: {domain: ada, method: lora+dreambooth, sp_size: 9}")
    assert spec.adapters == (LoraAdapter(rank=8, alpha=32),)
    assert spec.objective == DreamBoothObjective()
    training = spec.training
    assert (training.lr, training.batch_size, training.weight_decay, training.clip_norm) == (1e-6, 2, 1e-2, 1.0)
    assert training.steps == 5 * 100, "ceil(9 / 2) steps an epoch, a hundred epochs"


def test_dreambooth_trains_unet_and_text_encoder_whole() -> None:
    assert shake_of("fixed: {domain: ada, method: dreambooth}").adapters == (DenseAdapter(modules=("unet", "text_encoder")),)


def test_alpha_can_follow_the_rank() -> None:
    plan = plan_of("fixed: {domain: ada, method: lora, alpha: rank}\naxes: {rank: [1, 8]}")
    adapters = [trial.shake.spec.adapters[0] for trial in plan.trials if trial.shake]  # type: ignore[attr-defined]
    assert [(adapter.rank, adapter.alpha) for adapter in adapters] == [(1, 1.0), (8, 8.0)]


def test_alpha_follows_the_preset_s_rank_where_none_is_given() -> None:
    assert shake_of("fixed: {domain: ada, method: lora, alpha: rank}").adapters == (LoraAdapter(rank=8, alpha=8.0),)


def test_fixed_lora_settings_are_left_aside_where_no_lora_is() -> None:
    assert plan_of(AXES + "fixed: {alpha: 4}").trials[1].key == plan_of(AXES).trials[1].key


def test_a_method_can_be_spelled_out() -> None:
    method = "{name: wide, adapters: [{kind: lora, rank: 16, alpha: 4}], objective: {kind: dreambooth, instance_prompt: 'face of {name}'}}"
    plan = plan_of(f"fixed: {{domain: ada, steps: 3}}\naxes:\n  method: [none, {method}]")
    assert plan.axes["method"] == ["none", "wide"]
    shake = plan.trials[1].shake
    assert shake is not None
    assert shake.spec.adapters == (LoraAdapter(rank=16, alpha=4.0),)  # type: ignore[attr-defined]


def test_a_method_without_a_name_is_called_by_what_it_is() -> None:
    plan = plan_of(
        "fixed: {domain: ada}\naxes:\n  method: [{adapters: [{kind: lora, rank: 2}]}, {adapters: [{kind: dense, modules: [unet]}]}]"
    )
    assert plan.axes["method"] == ["lora(rank=2)+denoise", 'dense(modules=["unet"])+denoise']


def test_a_method_s_name_is_no_part_of_its_meaning() -> None:
    keys = {
        plan_of(f"fixed: {{domain: ada, method: {{name: {name}, adapters: [{{kind: dense}}]}}}}").trials[0].key for name in ("one", "two")
    }
    assert len(keys) == 1


def test_the_positive_control_trains_on_the_members_themselves() -> None:
    (trial,) = plan_of("fixed: {domain: ada, method: dreambooth, train_on: members, epochs: 1, batch: 4}").trials
    assert trial.shake is not None
    train = trial.shake.parent("train")
    assert train is not None
    assert train.kind == "data"
    assert train is trial.metrics["loss"].parents[1][1].parent("data")
    assert trial.shake.spec.training.steps == 2, "seven members in batches of four"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("domain", "other"), [("ada", "bo"), ("di", "ada")])
def test_the_unrelated_control_is_the_next_domain_s_own_shake(domain: str, other: str) -> None:
    own = plan_of(f"fixed: {{domain: {other}, method: dreambooth}}").trials[0]
    control = plan_of(f"fixed: {{domain: {domain}, method: dreambooth, train_on: unrelated}}").trials[0]
    assert control.shake == own.shake
    assert control.blind != own.blind


# --- keys ---


def test_a_key_is_the_hash_of_spec_parents_and_schema_version() -> None:
    for node in plan_of(AXES + "include: [{method: dreambooth, prior: true, caption: domain, fprs: [0.5]}]").nodes():
        spec_json = canonical_json(node.spec.model_dump(mode="json"))
        assert node.key == stage_key(node.kind, node.spec.schema_version, spec_json, [(role, parent.key) for role, parent in node.parents])
        assert SpecText().of(node.spec) == spec_json


def test_a_seed_re_keys_the_shake_and_what_hangs_on_it_only() -> None:
    text = "fixed: {domain: ada, method: lora, attacks: [loss]}"
    first, second = ({node.id for node in plan_of(text, f"seed={seed}").nodes()} for seed in (0, 1))
    assert sorted(kind for kind, _ in first - second) == ["metrics", "score", "shake"]


def test_an_sp_seed_re_keys_no_base_and_no_before() -> None:
    text = "fixed: {domain: ada, method: lora, attacks: [loss]}"
    first, second = ({node.id for node in plan_of(text, f"sp_seed={seed}").nodes()} for seed in (0, 1))
    assert sorted(kind for kind, _ in first - second) == ["metrics", "score", "shake", "sp"]


def test_the_order_of_axes_domains_and_attacks_changes_no_key() -> None:
    one = plan_of("fixed: {attacks: [loss, pia]}\naxes: {domain: [ada, bo], method: [none, lora]}")
    two = plan_of("fixed: {attacks: [pia, loss]}\naxes: {method: [lora, none], domain: [bo, ada]}")
    assert one.grid_key == two.grid_key
    assert {node.key for node in one.nodes()} == {node.key for node in two.nodes()}


def test_another_spelling_of_the_same_grid_has_the_same_keys() -> None:
    one = plan_of("fixed: {domain: ada, method: lora, lr: 1e-6, caption: own, fprs: [0.001, 0.01]}")
    two = plan_of("axes: {domain: [ada], method: [lora], batch: [4], attacks: [[secmi, pia, loss]]}")
    assert one.grid_key == two.grid_key


def test_adding_a_domain_leaves_the_others_trials_as_they_are() -> None:
    text = "fixed: {method: dreambooth}\naxes: {domain: [ada, bo], train_on: [sp, unrelated]}"
    assert {trial.key for trial in plan_of(text).trials} < {trial.key for trial in plan_of(text, "domain=ada,bo,cy").trials}


def test_a_value_that_bears_on_results_bears_on_the_key() -> None:
    text = "fixed: {domain: ada, method: lora+dreambooth}"
    changes = ["seed=1", "rank=4", "alpha=3", "dropout=0.1", "lr=1e-3", "steps=9", "epochs=3", "batch=7", "precision=bf16", "sp_seed=1"]
    changes += [
        "sp_size=9",
        "sp_steps=9",
        "guidance=1",
        "sp_prompts=photo",
        "negative_prompt=ugly",
        "train_on=members",
        "train_on=unrelated",
    ]
    changes += [
        "prior=true",
        "caption=domain",
        "caption=null",
        "attacks=loss",
        "fprs=0.1",
        "bootstrap=100",
        "sp_precision=bf16",
        "sp_scheduler=model",
        "rounds=2",
        "attack_domain=bo",
        "schedule=cosine",
        "warmup=3",
        "optimizer=adamw8bit",
        "weight_decay=0",
        "clip=none",
        "ema=0.9",
        "snr_gamma=5",
        "domain=bo",
        "model=x",
    ]
    keys = [plan_of(text, change).trials[0].key for change in changes] + [plan_of(text).trials[0].key]
    assert len(set(keys)) == len(changes) + 1


# --- trials and pools ---


def test_points_that_mean_the_same_run_once_and_a_notice_says_which() -> None:
    plan = plan_of("fixed: {domain: ada}\naxes: {method: [none, lora], seed: [0, 1]}")
    assert [(trial.axes["method"], trial.axes["seed"]) for trial in plan.trials] == [("none", 0), ("lora", 0), ("lora", 1)]
    assert plan.notices == ["1 point means the same as an earlier one and will not run again: method=none, seed=1 = method=none, seed=0"]


def test_many_equal_points_are_told_in_a_few_words() -> None:
    plan = plan_of("fixed: {domain: ada, method: none}", "seed=" + ",".join(map(str, range(9))))
    assert len(plan.trials) == 1
    assert plan.notices[0].startswith("8 points mean the same")
    assert plan.notices[0].endswith("and 5 more")


def test_axes_hold_every_value_and_what_include_adds() -> None:
    plan = plan_of(AXES + "  rank: [1, 8]\nwhen: {rank: {method: lora}}\ninclude: [{method: lora, rank: 3, train_on: members}]")
    assert plan.axes == {
        "domain": ["ada", "bo"],
        "method": ["none", "dreambooth", "lora"],
        "rank": [1, 8, 3],
        "train_on": ["sp", "members"],
    }
    assert plan.trials[0].axes == {"domain": "ada", "method": "none", "rank": None, "train_on": "sp"}


def test_a_pool_holds_the_trials_that_differ_in_domain_and_seed_only() -> None:
    plan = plan_of("fixed: {attacks: [loss]}\naxes: {method: [lora], rank: [1, 8], seed: [1, 0], domain: [bo, ada]}")
    assert [(pool.attack, pool.axes) for pool in plan.pools] == [
        ("loss", {"method": "lora", "rank": 1}),
        ("loss", {"method": "lora", "rank": 8}),
    ]
    trials = {trial.key: trial for trial in plan.trials}
    pool = plan.pools[0]
    assert [(trials[key].axes["domain"], trials[key].axes["seed"]) for key in pool.trials] == [("ada", 0), ("ada", 1), ("bo", 0), ("bo", 1)]
    after = [node for role, node in pool.node.parents if role == "after"]
    assert after == [trials[key].metrics["loss"].parents[1][1] for key in pool.trials]
    assert [role for role, _ in pool.node.parents] == ["before", "after"] * 4


def test_one_domain_makes_no_pool() -> None:
    assert plan_of("fixed: {domain: ada}\naxes: {method: [lora], seed: [0, 1]}").pools == []


def test_a_pool_measures_as_its_trials_do() -> None:
    plan = plan_of("fixed: {method: lora, fprs: [0.2], bootstrap: 300}\naxes: {domain: [ada, bo]}")
    metrics = plan.trials[0].metrics["loss"].spec
    assert isinstance(metrics, MetricsStage)
    assert plan.pools[0].node.spec.metrics == metrics.metrics  # type: ignore[attr-defined]


def test_a_score_names_the_domain_only_where_its_caption_does() -> None:
    specs = []
    for caption in ("own", "domain"):
        spec = plan_of(f"fixed: {{domain: ada, method: none, caption: {caption}}}").trials[0].metrics["loss"].parents[0][1].spec
        assert isinstance(spec, ScoreStage)
        specs.append(spec.name)
    assert specs == ["", "Ada"]


def test_inputs_errors_name_the_line() -> None:
    with pytest.raises(GridError, match=r"g\.yaml:4: axes\.domain\[1\]: no domain eve"):
        plan_of("axes:\n  method: [none]\n  domain: [ada, eve]")


def test_registered_grids_are_planned_again_to_the_same_keys() -> None:
    plan = plan_of(AXES + "exclude: [{domain: bo, method: lora}]", "domain=ada")

    class Store:
        def grids(self) -> list[dict[str, object]]:
            gone = {"name": "h", "fixed": {"domain": "gone", "method": "none"}}
            return [{"grid": "g", "document": plan.document}, {"grid": "h", "document": gone}]

    notices: list[str] = []
    (again,) = plans_of(Store(), inputs=StatedInputs(), notice=notices.append)
    assert again.grid_key == plan.grid_key
    assert notices == ["the registered grid h cannot be planned: grid h: fixed.domain: no domain gone"]


def write_folder(folder: Path) -> None:
    folder.mkdir()
    lines = []
    for number in range(8):
        domain, name = ("Ann", "Ben")[number % 2], f"{number}.png"
        Image.new("RGB", (32, 32), (number * 20, 40, 60)).save(folder / name)
        lines.append(json.dumps({"file_name": name, "text": f"photo of {domain}", "domain": domain, "member": number < 4}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))


def test_a_folder_s_place_is_no_part_of_its_meaning(tmp_path: Path) -> None:
    for name in ("here", "there"):
        write_folder(tmp_path / name)
    grid = "name: g\nfixed: {{data: {folder}, method: dreambooth}}\naxes: {{domain: [Ann, Ben]}}"
    here, there = (expand(parse_grid(grid.format(folder=tmp_path / name), "g")) for name in ("here", "there"))
    assert here.grid_key == there.grid_key
    assert set(here.inputs) == set(there.inputs) == {node.spec.source.content for node in here.nodes() if node.kind == "data"}  # type: ignore[attr-defined]
    assert set(there.inputs.values()) == {tmp_path / "there"}


def test_a_folder_s_members_are_counted_for_the_positive_control(tmp_path: Path) -> None:
    write_folder(tmp_path / "here")
    text = f"name: g\nfixed: {{data: {tmp_path}/here, domain: Ann, method: dreambooth, train_on: members, epochs: 3, batch: 1}}"
    (trial,) = expand(parse_grid(text, "g")).trials
    assert trial.shake is not None
    assert trial.shake.spec.training.steps == 2 * 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data=tiny-face", '--set data=tiny-face: fixed.data: unknown data "tiny-face"; allowed: tiny-faces, or a folder of images'),
        ("model=tinny", "--set model=tinny: fixed.model: "),
        ("domain=zorvic", '--set domain=zorvic: axes.domain[0]: unknown domain of tiny-faces "zorvic"; allowed: brundlo, '),
    ],
)
def test_an_input_that_is_not_there_is_told_where_it_is_asked_for(setting: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        expand(read_grid("smoke", [setting]))
    assert str(caught.value).startswith(message)
    assert "did you mean" in str(caught.value)


def test_a_rank_beyond_the_model_s_matrices_is_refused_with_the_layer_and_the_largest_rank() -> None:
    assert expand(read_grid("quickstart", ["rank=1,64"])).notices == []
    with pytest.raises(GridError) as caught:
        expand(read_grid("quickstart", ["rank=1,65"]))
    assert str(caught.value) == (
        "--set rank=1,65: axes.rank[1]: the model tiny: rank 65 is larger than unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1."
        "to_q, whose rank is 64 at most; give a rank of 1 to 64"
    )


def test_an_attack_beyond_the_model_s_timesteps_is_refused() -> None:
    assert expand(read_grid("smoke", ["attacks={kind: secmi, t: 980}"])).trials
    with pytest.raises(
        GridError, match=r"fixed\.attacks: the attack secmi-t990 asks at timestep 1000; the model tiny has timesteps 0 to 999"
    ):
        expand(read_grid("smoke", ["attacks={kind: secmi, t: 990}"]))


def test_planning_imports_no_torch() -> None:
    program = "import sys; from jobs.plan.expand import expand; from jobs.grid.read import read_grid; import jobs.plan.demand\n"
    program += (
        "expand(read_grid('quickstart')); print(sorted({'torch', 'ray', 'mlflow', 'diffusers', 'numpy', 'boto3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_quickstart_is_three_ways_and_a_control_over_three_people() -> None:
    plan = expand(read_grid("quickstart"), inputs=_Drawn())
    told = {(trial.axes["method"], trial.axes["rank"], trial.axes["train_on"]) for trial in plan.trials}
    methods = [("none", None), ("dreambooth", None), ("lora+dreambooth", 1), ("lora+dreambooth", 8)]
    assert told == {(*method, "sp") for method in methods} | {("dreambooth", None, "members")}
    assert (len(plan.axes["domain"]), plan.axes["seed"], plan.notices) == (3, [0], [])
    assert set(plan.trials[0].metrics) == {"secmi", "pia", "loss"}


def test_smoke_meets_a_baseline_and_a_shake() -> None:
    plan = expand(read_grid("smoke"), inputs=_Drawn())
    assert list(plan.axes) == ["domain", "method", "seed"]
    assert [trial.shake is None for trial in plan.trials] == [True, False]


class _Drawn(StatedInputs):
    def domains(self, data: str) -> list[str]:
        from s2l_core.faces import IDENTITIES

        return list(IDENTITIES)
