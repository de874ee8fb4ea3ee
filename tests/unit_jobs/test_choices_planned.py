"""Choices in a plan: which stages there are, what they share, and what a choice's key depends on."""

from __future__ import annotations

import pytest

from jobs.grid.read import read_grid
from jobs.ledger.failures import Failure
from jobs.plan.expand import expand
from jobs.plan.graph import Node
from jobs.plan.names import stage_names
from jobs.plan.plan import Plan
from jobs.stages.specs import ChoiceStage
from jobs.states import trial_state
from s2l_core.specs.attacks import ChosenAttack, LossAttack, PIAAttack, SecMIAttack
from tests.stated_inputs import after, before, by_method, distinct, domain_of, parent, plan_of, score_spec, trial_of

SECMI = "{kind: choose, of: secmi, t: [60, 100], on: [cy, bo]}"


def grid(attacks: str = SECMI, more: str = "", axes: str = "domain: [ada], method: [none, lora]") -> Plan:
    return plan_of(f"fixed: {{attacks: [{attacks}]{more}}}\naxes: {{{axes}}}")


def the_choice(plan: Plan, name: str = "secmi-chosen") -> Node:
    (found,) = {parent(before(trial, name), "choice") for trial in plan.trials}
    return found


def test_every_candidate_is_scored_on_every_calibration_domain_by_the_unshaken_model() -> None:
    choice = the_choice(grid())
    assert isinstance(choice.spec, ChoiceStage)
    assert choice.spec.candidates == (SecMIAttack(t=60), SecMIAttack(t=100))
    asked = [(score_spec(score).attack, domain_of(score)) for _, score in choice.parents]
    assert asked == [(SecMIAttack(t=t), domain) for t in (60, 100) for domain in ("bo", "cy")]
    assert all(score.parent("shake") is None for _, score in choice.parents)


def test_the_attack_before_and_after_waits_for_the_choice_and_names_no_attack_itself() -> None:
    plan = grid()
    (none,), (lora,) = by_method(plan, "none"), by_method(plan, "lora")
    scores = [before(lora, "secmi-chosen"), after(lora, "secmi-chosen"), before(none, "secmi-chosen")]
    assert {score_spec(score).attack for score in scores} == {ChosenAttack()}
    assert {parent(score, "choice") for score in scores} == {the_choice(plan)}
    assert scores[0] == scores[2]
    assert domain_of(scores[1]) == "ada"


def test_the_plan_counts_them() -> None:
    assert (distinct(grid(), "choice"), distinct(grid(), "score"), distinct(grid(), "data")) == (1, 4 + 2, 3)


def test_scores_for_a_choice_are_those_of_a_grid_that_attacks_there() -> None:
    attacked = plan_of("fixed: {attacks: [{kind: secmi, t: 60}]}\naxes: {domain: [bo], method: [none]}")
    assert before(attacked.trials[0], "secmi-t60") == the_choice(grid()).parents[0][1]


def test_an_attack_as_it_is_keeps_its_key_beside_a_chosen_one() -> None:
    alone, beside = grid("secmi"), grid(f"secmi, {SECMI}")
    for method in ("none", "lora"):
        (one,), (other,) = by_method(alone, method), by_method(beside, method)
        assert one.metrics["secmi"] == other.metrics["secmi"]


def test_another_domain_or_method_makes_no_other_choice() -> None:
    more = grid(axes="domain: [ada, di], method: [none, lora, dreambooth], seed: [0, 1]")
    assert the_choice(more) == the_choice(grid())


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("{kind: choose, of: secmi, t: [60, 100], on: [bo, cy]}", True),
        ("{kind: choose, among: [{kind: secmi, t: 60}, secmi], on: [cy, bo], name: secmi-chosen}", True),
        ("{kind: choose, of: {kind: secmi, t: 140}, t: [60, 100], on: [bo, cy]}", True),
        ("{kind: choose, of: secmi, t: [100, 60], on: [cy, bo]}", False),
        ("{kind: choose, of: secmi, t: [60, 100, 140], on: [cy, bo]}", False),
        ("{kind: choose, of: secmi, t: [60, 100], on: [cy]}", False),
        ("{kind: choose, of: secmi, t: [60, 100], on: [cy, di]}", False),
    ],
)
def test_a_choice_is_keyed_by_its_candidates_in_order_and_its_domains_in_any(written: str, same: bool) -> None:
    assert (the_choice(grid(written)) == the_choice(grid())) is same


def test_each_base_has_its_own_choice() -> None:
    plan = grid(axes="domain: [ada], method: [none], model: [one, two]")
    choices = {parent(before(trial, "secmi-chosen"), "choice") for trial in plan.trials}
    assert len(choices) == 2
    for trial in plan.trials:
        score = before(trial, "secmi-chosen")
        bases = {parent(candidate, "base") for _, candidate in parent(score, "choice").parents}
        assert bases == {parent(score, "base")}


def test_a_domain_prompt_names_the_domain_that_is_scored() -> None:
    plan = grid(more=", caption: domain")
    asked = {(domain_of(score), score_spec(score).name) for _, score in the_choice(plan).parents}
    assert asked == {("bo", "Bo"), ("cy", "Cy")}
    assert score_spec(before(plan.trials[0], "secmi-chosen")).name == "Ada"


def test_a_token_is_shown_after_and_never_while_choosing() -> None:
    trial = trial_of(f"fixed: {{domain: ada, method: textual-inversion, attacks: [{SECMI}]}}")
    assert score_spec(after(trial, "secmi-chosen")).caption.kind == "replace-name"
    assert score_spec(after(trial, "secmi-chosen@own-caption")).caption.kind == "own"
    choices = {parent(after(trial, name), "choice") for name in trial.metrics}
    (choice,) = choices
    assert {score_spec(score).caption.kind for _, score in choice.parents} == {"own"}


def test_all_is_all_domains_but_those_chosen_on_and_says_so() -> None:
    plan = grid(axes="domain: [all], method: [none]")
    assert plan.axes["domain"] == ["ada", "di"]
    assert plan.notices == ["`all` is without bo, cy, on which secmi-chosen will be chosen"]
    assert grid("secmi", axes="domain: [all], method: [none]").axes["domain"] == ["ada", "bo", "cy", "di"]


@pytest.mark.parametrize(
    ("written", "name", "candidates"),
    [
        (
            "{kind: choose, of: loss, timesteps: [[50], [100, 200]], on: [bo]}",
            "loss-chosen",
            (LossAttack(timesteps=(50,)), LossAttack(timesteps=(100, 200))),
        ),
        ("{kind: choose, of: pian, t: [60, 100], on: [bo]}", "pia-chosen", (PIAAttack(t=60, normalized=True), PIAAttack(normalized=True))),
        ("{kind: choose, among: [pia, {kind: secmi, t: 60}], on: [bo]}", "chosen", (PIAAttack(), SecMIAttack(t=60))),
        ("{kind: choose, among: [pia, secmi], on: [bo], name: best}", "best", (PIAAttack(), SecMIAttack())),
    ],
)
def test_what_is_written_gives_name_and_candidates(written: str, name: str, candidates: tuple[object, ...]) -> None:
    spec = the_choice(grid(written), name).spec
    assert isinstance(spec, ChoiceStage)
    assert spec.candidates == candidates


def test_two_data_sets_with_one_domain_in_common_have_a_choice_each() -> None:
    class Two:
        """The packaged faces under two names, with other images on the calibration domain."""

        def __init__(self) -> None:
            from jobs.grid.inputs import LocalInputs

            self._local = LocalInputs()

        def __getattr__(self, name: str) -> object:
            return getattr(self._local, name)

        def domains(self, data: str) -> list[str]:
            return self._local.domains("tiny-faces")

        def domain(self, data: str, domain: str) -> object:
            given = "tavrox" if (data, domain) == ("other", "mellune") else domain
            return self._local.domain("tiny-faces", given)

    attack = "attacks={kind: choose, of: pia, t: [60, 100], on: [mellune]}"
    plan = expand(read_grid("smoke", [attack, "data=one,other", "method=none"]), inputs=Two())  # type: ignore[arg-type]
    assert len({parent(before(trial, "pia-chosen"), "choice") for trial in plan.trials}) == 2


def test_a_choice_and_its_scores_are_named_after_the_attack() -> None:
    plan = grid()
    names = stage_names(plan)
    assert names[the_choice(plan).key] == "choice secmi-chosen"
    assert names[before(plan.trials[0], "secmi-chosen").key] == "score secmi-chosen before ada"
    assert names[after(by_method(plan, "lora")[0], "secmi-chosen").key] == "score secmi-chosen ada, lora"


def test_candidates_are_shown_automatic_captions_of_their_own_domains() -> None:
    captions = "{kind: automatic, captioner: colours}"
    plan = grid(more=f", caption: {captions}")
    choice, attacked = the_choice(plan), parent(before(plan.trials[0], "secmi-chosen"), "captions")
    made = [(domain_of(score), parent(score, "captions")) for _, score in choice.parents]
    assert [domain_of(captions) for _, captions in made] == [domain for domain, _ in made] == ["bo", "cy"] * 2
    assert parent(after(plan.trials[1], "secmi-chosen"), "captions") is attacked
    assert attacked not in [captions for _, captions in made]


def test_a_candidate_that_fails_blocks_every_trial_also_one_that_shakes_nothing() -> None:
    plan = grid()
    choice = the_choice(plan)
    for node in (choice, choice.parents[0][1]):
        failure = Failure(kind=node.kind, key=node.key, error_class="numerical", message="NaN", traceback="", host="h")
        assert [trial_state(trial, set(), {node.key: failure}).state for trial in plan.trials] == ["blocked", "blocked"]
    own = before(by_method(plan, "none")[0], "secmi-chosen")
    failure = Failure(kind="score", key=own.key, error_class="numerical", message="NaN", traceback="", host="h")
    assert trial_state(by_method(plan, "none")[0], set(), {own.key: failure}).state == "failed"
