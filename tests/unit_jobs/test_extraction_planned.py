"""The setting `extraction`: which stages it adds to a plan, which they share, and what it leaves as it was."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import GridError
from jobs.execute.units import make_units
from jobs.ledger.failures import Failure
from jobs.plan.graph import Node
from jobs.plan.names import stage_names
from jobs.plan.plan import Trial
from jobs.plan.sets import CANDIDATES_SEED
from jobs.stages.specs import BaseStage, DataStage, ExtractStage
from jobs.states import trial_state
from s2l_core.specs.extraction import AlignmentSpec, ExtractionSpec
from s2l_core.specs.fidelity import ClipFeatures, HogFeatures, PixelFeatures
from tests.stated_inputs import by_method, distinct, parent, plan_of, sp_spec, trial_of

ONE = "fixed: {domain: ada, method: dreambooth, steps: 5, extraction: pixels}\n"
SEVERAL = """
fixed: {steps: 5, extraction: {features: hog, candidates: 40}}
axes: {domain: [ada, bo], method: [none, dreambooth, lora], seed: [0, 1]}
"""


def extracted(trial: Trial) -> Node:
    assert trial.extraction is not None
    return trial.extraction


def spec(node: Node) -> ExtractionSpec:
    assert isinstance(node.spec, ExtractStage)
    return node.spec.extraction


def test_a_trial_generates_candidates_before_and_after_the_shake_with_the_same_noise() -> None:
    trial = trial_of(ONE)
    after = extracted(trial)
    before = parent(after, "before")
    assert after in list(trial.leaves())
    assert [role for role, _ in after.parents] == ["drawn", "data", "before"]
    assert [role for role, _ in before.parents] == ["drawn", "data"]
    assert parent(parent(after, "drawn"), "shake") is trial.shake
    assert parent(before, "drawn").parent("shake") is None
    assert sp_spec(parent(after, "drawn")) == sp_spec(parent(before, "drawn"))
    assert spec(after) == spec(before) == ExtractionSpec(features=PixelFeatures())
    assert sp_spec(parent(after, "drawn")).synthesis.images == 5000


def test_candidates_are_drawn_as_the_sp_set_is_from_other_noise() -> None:
    trial = trial_of(ONE, "sp_steps=7", "guidance=3", "sp_size=9")
    own, candidates = sp_spec(parent(trial.shake, "train")).synthesis, sp_spec(parent(extracted(trial), "drawn")).synthesis
    assert own.images == 9
    assert candidates == own.model_copy(update={"images": 5000, "seed": CANDIDATES_SEED})
    assert candidates.seed != own.seed


def test_no_seed_of_the_sp_set_is_that_of_the_candidates() -> None:
    trial = trial_of(ONE, f"sp_seed={CANDIDATES_SEED + 4}", "extract_seed=4")
    assert sp_spec(parent(extracted(trial), "drawn")).synthesis.seed == CANDIDATES_SEED + 5


def test_before_is_generated_and_matched_once_for_all_methods_and_seeds_of_a_domain() -> None:
    plan = plan_of(SEVERAL)
    unshaken = {extracted(trial) for trial in by_method(plan, "none")}
    assert len(unshaken) == 2
    assert {parent(extracted(trial), "before") for trial in plan.trials if trial.shake} == unshaken
    assert distinct(plan, "extract") == 2 + 2 * 2 * 2
    assert distinct(plan, "sp") == 2 * 2 + 2 * 2 * 2, "an SP set and a set of candidates of each domain, and one of each shake"


def test_the_seeds_of_the_shake_and_of_the_sp_set_re_key_no_candidates_of_the_base() -> None:
    first, seeds = trial_of(ONE), trial_of(ONE, "seed=3", "sp_seed=3")
    assert parent(extracted(first), "before").key == parent(extracted(seeds), "before").key
    other = trial_of(ONE, "extract_seed=1")
    assert parent(extracted(first), "before").key != parent(extracted(other), "before").key
    assert first.shake is not None
    assert other.shake is not None
    assert first.shake.key == other.shake.key


def test_without_extraction_nothing_is_added_and_no_key_changes() -> None:
    plain, asked = plan_of(SEVERAL, "extraction=none"), plan_of(SEVERAL)
    assert not any(node.kind == "extract" for node in plain.nodes())
    assert all(trial.extraction is None for trial in plain.trials)
    leaves = [[leaf.key for leaf in trial.leaves() if leaf.kind != "extract"] for trial in asked.trials]
    assert [[leaf.key for leaf in trial.leaves()] for trial in plain.trials] == leaves
    bare = plan_of(SEVERAL.replace(", extraction: {features: hog, candidates: 40}", ""))
    assert [trial.key for trial in plain.trials] == [trial.key for trial in bare.trials]
    assert plan_of(SEVERAL, "extraction=none", "extract_seed=9").grid_key == bare.grid_key


def test_trials_that_differ_in_how_they_extract_are_several() -> None:
    text = "fixed: {domain: ada, method: lora, steps: 5}\naxes: {extraction: [none, pixels, {features: pixels, candidates: 9}]}\n"
    plan = plan_of(text)
    assert len({trial.key for trial in plan.trials}) == 3
    assert [trial.axes["extraction"] for trial in plan.trials] == ["none", "pixels", '{"candidates":9,"features":"pixels"}']
    assert distinct(plan, "shake") == 1


def test_fidelity_and_extraction_go_together() -> None:
    trial = trial_of(ONE, "fidelity=hog")
    assert trial.fidelity is not None
    assert {leaf.kind for leaf in trial.leaves()} == {"metrics", "blind", "fidelity", "extract"}
    assert trial.key not in (trial_of(ONE).key, trial_of(ONE, "fidelity=hog", "extraction=none").key)


@pytest.mark.parametrize("train_on", ["members", "unrelated"])
def test_whatever_a_model_is_trained_on_it_is_asked_for_its_own_domain(train_on: str) -> None:
    control, own = trial_of(ONE, f"train_on={train_on}"), trial_of(ONE)
    assert parent(extracted(control), "before").key == parent(extracted(own), "before").key
    assert parent(extracted(control), "data").key == parent(extracted(own), "data").key


def test_under_domain_transfer_the_domain_is_the_one_that_was_learned() -> None:
    trial = trial_of(ONE, "attack_domain=bo")
    assert parent(extracted(trial), "data").spec == DataStage(source={"source": "folder", "domain": "ada", "content": "a" * 64})


def test_a_model_that_learned_a_token_is_asked_for_the_token() -> None:
    trial = trial_of(ONE, "method=textual-inversion", "tokens=<ada>")
    assert sp_spec(parent(extracted(trial), "drawn")).synthesis.name == "<ada>"
    assert sp_spec(parent(parent(extracted(trial), "before"), "drawn")).synthesis.name == "Ada"


def test_the_safety_checker_looks_at_candidates_too() -> None:
    trial = trial_of(ONE, "safety_checker=true")
    for node in (extracted(trial), parent(extracted(trial), "before")):
        checker = parent(parent(node, "drawn"), "checker").spec
        assert isinstance(checker, BaseStage)
        assert checker.family == "safety-checker"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("pixels", ExtractionSpec(features=PixelFeatures())),
        ("hog", ExtractionSpec(features=HogFeatures())),
        ("{features: hog}", ExtractionSpec(features=HogFeatures())),
        ("{features: {kind: hog, cell: 4}, keep: null}", ExtractionSpec(features=HogFeatures(cell=4), keep=None)),
        ("{features: {kind: clip, model: some/clip}, candidates: 9}", ExtractionSpec(features=ClipFeatures(), candidates=9)),
        (
            "{features: pixels, alignment: {shift: 0}, threshold: 0.1}",
            ExtractionSpec(features=PixelFeatures(), alignment=AlignmentSpec(shift=0), threshold=0.1),
        ),
    ],
)
def test_how_to_extract_is_named_or_spelled_out(value: str, expected: ExtractionSpec) -> None:
    trial = trial_of(ONE.replace("extraction: pixels", f"extraction: {value}"))
    assert spec(extracted(trial)) == expected
    assert (extracted(trial).parent("features") is not None) == isinstance(expected.features, ClipFeatures)


def test_features_spelled_out_as_their_defaults_are_the_same_trial() -> None:
    texts = ("pixels", "{features: pixels}", "{features: {kind: pixels, side: 16}, candidates: 5000}")
    assert len({trial_of(ONE.replace("extraction: pixels", f"extraction: {text}")).key for text in texts}) == 1


def test_a_clip_is_a_stage_that_reads_the_user_s_folder() -> None:
    plan = plan_of(ONE.replace("extraction: pixels", "extraction: {features: {kind: clip, model: some/clip}}"))
    network = parent(extracted(plan.trials[0]), "features").spec
    assert isinstance(network, BaseStage)
    assert network.family == "clip"
    assert str(plan.inputs["c" * 64]) == "some/clip"


def test_what_the_shaken_model_generates_is_matched_beside_its_shake() -> None:
    trial = trial_of(ONE)
    units = make_units(plan_of(ONE).nodes())
    (cell,) = (unit for unit in units if unit.kind == "cell")
    assert {node.kind for node in cell.nodes} == {"shake", "score", "metrics", "sp", "extract"}
    assert parent(extracted(trial), "before").key in cell.needs
    before = next(unit for unit in units if parent(extracted(trial), "before").key in unit.keys)
    assert before.kind == "prepare"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("clip", r"unknown extraction .clip.*none, pixels, hog; or a mapping such as \{features: \{kind: clip, model: FOLDER\}"),
        ("{candidates: 9}", r"g.yaml:2: fixed.extraction: extraction.features: is missing in .*allowed: pixels, hog, or a mapping"),
        ("{features: none}", r"unknown features .none.; allowed: pixels, hog; or a mapping"),
        ("{features: {kind: clip}}", r"extraction.features.model: is missing"),
        ("{features: {kind: clip, model: bare}}", r"g.yaml:2: fixed.extraction: the model bare has no clip"),
        ("{features: hog, candidate: 9}", r"extraction: unknown key .candidate.*did you mean .candidates"),
        ("{features: hog, threshold: 2}", r"extraction.threshold: "),
        ("{features: hog, cliques: {size: 1}}", r"extraction.cliques.size: "),
        ("true", r"unknown extraction true"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_allowed(value: str, message: str) -> None:
    with pytest.raises(GridError, match=message):
        plan_of(ONE.replace("extraction: pixels", f"extraction: {value}"))


def test_stages_are_named_by_what_they_extract() -> None:
    plan = plan_of(SEVERAL)
    names = stage_names(plan)
    trial: Any = next(trial for trial in plan.trials if trial.axes == {"domain": "bo", "method": "lora", "seed": 1})
    before = parent(extracted(trial), "before")
    assert names[extracted(trial).key] == "extract bo, lora, seed=1"
    assert names[before.key] == "extract before bo"
    assert names[parent(extracted(trial), "drawn").key] == "sp candidates after bo, lora, seed=1"
    assert names[parent(before, "drawn").key] == "sp Bo, candidates"
    assert names[parent(trial.shake, "train").key] == "sp Bo"
    alone = plan_of(ONE)
    assert stage_names(alone)[parent(parent(extracted(alone.trials[0]), "before"), "drawn").key] == "sp Ada, candidates"


def test_a_set_that_a_trial_s_own_shake_fails_to_generate_fails_the_trial() -> None:
    trial = trial_of(ONE)
    for node, state in ((extracted(trial), "failed"), (parent(extracted(trial), "before"), "blocked")):
        drawn = parent(node, "drawn")
        failure = Failure(kind="sp", key=drawn.key, error_class="configuration", message="no", traceback="", host="h")
        assert trial_state(trial, set(), {drawn.key: failure}).state == state
