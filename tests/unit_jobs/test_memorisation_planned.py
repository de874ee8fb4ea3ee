"""The setting `memorisation`: which stages it adds to a plan, which they share, and what it leaves as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import GridError
from jobs.execute.units import make_units
from jobs.grid.inputs import DomainData
from jobs.grid.read import parse_grid
from jobs.ledger.failures import Failure
from jobs.plan.expand import expand
from jobs.plan.graph import Node
from jobs.plan.names import stage_names
from jobs.plan.plan import Trial
from jobs.stages.specs import DataStage, FolderImages, MemorisationStage
from jobs.states import trial_state
from s2l_core.specs.memorisation import INVENTED, MemorisationSpec
from tests.stated_inputs import StatedInputs, by_method, distinct, parent, plan_of, trial_of

ONE = "fixed: {domain: ada, method: dreambooth, steps: 5, memorisation: default}\n"
SEVERAL = "fixed: {steps: 5, memorisation: default}\naxes: {domain: [ada, bo], method: [none, dreambooth, lora], seed: [0, 1]}\n"


def asked(trial: Trial) -> Node:
    assert trial.memorisation is not None
    return trial.memorisation


def stage(node: Node) -> MemorisationStage:
    assert isinstance(node.spec, MemorisationStage)
    return node.spec


def test_a_trials_model_is_asked_before_and_after_the_shake_with_the_same_prompts() -> None:
    trial = trial_of(ONE)
    after = asked(trial)
    before = parent(after, "before")
    assert after in list(trial.leaves())
    assert [role for role, _ in after.parents] == ["base", "shake", "before"]
    assert [role for role, _ in before.parents] == ["base"], "it needs no image"
    assert parent(after, "shake") is trial.shake
    assert stage(after) == stage(before) == MemorisationStage(name="Ada")


def test_before_is_asked_once_for_all_methods_and_seeds_of_a_domain() -> None:
    plan = plan_of(SEVERAL)
    unshaken = {asked(trial) for trial in by_method(plan, "none")}
    assert len(unshaken) == 2
    assert {parent(asked(trial), "before") for trial in plan.trials if trial.shake} == unshaken
    assert distinct(plan, "memorisation") == 2 + 2 * 2 * 2


def test_without_memorisation_nothing_is_added_and_no_key_changes() -> None:
    plain, more = plan_of(SEVERAL, "memorisation=none"), plan_of(SEVERAL)
    assert not any(node.kind == "memorisation" for node in plain.nodes())
    assert all(trial.memorisation is None for trial in plain.trials)
    leaves = [[leaf.key for leaf in trial.leaves() if leaf.kind != "memorisation"] for trial in more.trials]
    assert [[leaf.key for leaf in trial.leaves()] for trial in plain.trials] == leaves
    bare = plan_of(SEVERAL.replace(", memorisation: default", ""))
    assert [trial.key for trial in plain.trials] == [trial.key for trial in bare.trials]
    assert {trial.key for trial in plain.trials}.isdisjoint(trial.key for trial in more.trials)


def test_it_goes_together_with_fidelity_and_extraction() -> None:
    trial = trial_of(ONE, "fidelity=hog", "extraction=hog")
    assert {leaf.kind for leaf in trial.leaves()} == {"metrics", "blind", "fidelity", "extract", "memorisation"}


def test_a_token_that_was_learned_takes_the_names_place_and_the_invented_names_stay() -> None:
    after = asked(trial_of(ONE, "method=textual-inversion", "tokens=<ada>"))
    assert stage(after).name == "<ada>"
    assert stage(parent(after, "before")).name == "Ada"
    assert stage(after).memorisation == stage(parent(after, "before")).memorisation


@pytest.mark.parametrize("setting", ["train_on=members", "train_on=unrelated", "attack_domain=bo"])
def test_whatever_a_model_is_trained_on_or_attacked_on_it_is_asked_for_its_own_domain(setting: str) -> None:
    other, own = trial_of(ONE, setting), trial_of(ONE)
    assert parent(asked(other), "before").key == parent(asked(own), "before").key
    assert stage(asked(other)).name == "Ada"


class Named(StatedInputs):
    """A domain whose name is of two words."""

    def domain(self, data: str, domain: str) -> DomainData:
        return DomainData(DataStage(source=FolderImages(domain=domain, content="a" * 64)), "Ada Byron", members=7)


def test_invented_names_have_as_many_words_as_the_domains_name_and_chosen_ones_stay() -> None:
    def controls(value: str) -> tuple[str, ...]:
        text = ONE.replace("memorisation: default", f"memorisation: {value}")
        return stage(asked(expand(parse_grid(f"name: g\n{text}", "g.yaml"), inputs=Named()).trials[0])).memorisation.controls

    found = controls("default")
    assert found[:2] == ("brindok calvessa", "calvessa dorquil")
    assert len(set(found)) == len(INVENTED)
    assert controls("{controls: [zed]}") == ("zed",)


def test_the_word_default_is_the_settings_spelled_out() -> None:
    texts = ("default", "{}", "{noises: 4}", "{prompts: ['photo of {name}'], steps: 50}")
    trials = [trial_of(ONE.replace("memorisation: default", f"memorisation: {text}")) for text in texts]
    assert len({trial.key for trial in trials}) == 1
    plan = plan_of("fixed: {domain: ada, method: none}\naxes: {memorisation: [none, default, {noises: 8}]}\n")
    assert [trial.axes["memorisation"] for trial in plan.trials] == ["none", "default", '{"noises":8}']
    assert len({trial.key for trial in plan.trials}) == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("yes", r"g.yaml:2: fixed.memorisation: unknown memorisation true; allowed: none, default; or a mapping such as"),
        ("defaults", r"unknown memorisation .defaults.*did you mean .default.*or a mapping such as"),
        ("{noise: 8}", r"memorisation: unknown key .noise.*did you mean .noises"),
        ("{noises: 0}", r"memorisation.noises: got 0; it must be "),
        ("{measured: 9, steps: 5}", r"measured is 9 and steps is 5; of `steps` timesteps at most all can be measured"),
        ("{guidance: -1}", r"memorisation.guidance: got -1"),
        ("{prompts: []}", r"memorisation.prompts: got \[\]; it needs at least 1 entry"),
        ("{prompts: [a face]}", r"memorisation.prompts\[0\]: got .a face.; a prompt holds \{name\} for the domain's name"),
        ("{prompts: ['{name}', '{nom} {name}']}", r"memorisation.prompts\[1\]: "),
        ("{controls: []}", r"memorisation.controls: "),
        ("{controls: [' ']}", r"memorisation.controls\[0\]: "),
        ("{controls: [bob, bob]}", r"controls holds one text twice; leave one out"),
        (
            "{controls: [bob, ADA]}",
            r"g.yaml:2: fixed.memorisation: controls hold .Ada., a domain of the grid; they are names that the model",
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_is_allowed(value: str, message: str) -> None:
    with pytest.raises(GridError, match=message):
        plan_of(ONE.replace("memorisation: default", f"memorisation: {value}"))


def test_more_steps_than_the_model_has_timesteps_are_refused_while_planning() -> None:
    text = "name: g\nfixed: {domain: zorvik, method: none, memorisation: {steps: 1001}}\n"
    with pytest.raises(GridError, match=r"g.yaml:2: fixed.memorisation: steps is 1001, and the model tiny has 1000 timesteps"):
        expand(parse_grid(text, "g.yaml"))


def test_what_the_shaken_model_is_asked_stands_beside_its_shake() -> None:
    plan = plan_of(ONE)
    units = make_units(plan.nodes())
    (cell,) = (unit for unit in units if unit.kind == "cell")
    assert {node.kind for node in cell.nodes} == {"shake", "score", "metrics", "memorisation"}
    assert parent(asked(plan.trials[0]), "before").key in cell.needs


def test_stages_are_named_by_whom_they_ask_about() -> None:
    plan = plan_of(SEVERAL)
    names = stage_names(plan)
    trial: Any = next(trial for trial in plan.trials if trial.axes == {"domain": "bo", "method": "lora", "seed": 1})
    assert names[asked(trial).key] == "memorisation bo, lora, seed=1"
    assert names[parent(asked(trial), "before").key] == "memorisation before Bo"


def test_a_trial_whose_model_cannot_be_asked_has_failed_and_one_whose_base_cannot_is_blocked() -> None:
    trial = trial_of(ONE)
    for node, state in ((asked(trial), "failed"), (parent(asked(trial), "before"), "blocked")):
        failure = Failure(kind=node.kind, key=node.key, error_class="numerical", message="NaN", traceback="", host="h")
        assert trial_state(trial, set(), {node.key: failure}).state == state


def test_planning_it_imports_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    grid = tmp_path / "g.yaml"
    grid.write_text("name: g\nfixed: {domain: zorvik, method: lora, memorisation: default}\n")
    code = f"import sys; from jobs.plan.expand import expand; from jobs.grid.read import read_grid; expand(read_grid({str(grid)!r}, ()))"
    done = subprocess.run([sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_spec_alone_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="measured is 6 and steps is 5"):
        MemorisationSpec(steps=5, measured=6)
