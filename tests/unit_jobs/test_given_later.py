"""Grids that ask for a data set or a model: they plan as they are, and are refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import EXIT_INPUT, GridError, InputError
from jobs.grid.read import parse_grid
from jobs.plan.expand import expand
from jobs.plan.given import refuse_stand_ins
from jobs.plan.plan import Plan
from tests.s2l_process import Home
from tests.stated_inputs import plan_of

STAND_INS = "name: g\nfixed: {data: 'to-be-given:people', model: 'to-be-given:sd-v1-1', attacks: [loss]}\n"


def planned(text: str, *sets: str) -> Plan:
    return expand(parse_grid(text, "g.yaml", sets))


def test_forty_stand_ins_are_planned_and_name_nobody() -> None:
    plan = planned(STAND_INS + "axes: {domain: [all], method: [none, dreambooth]}")
    assert plan.axes["domain"] == [f"person-{number:02d}" for number in range(1, 41)]
    assert len(plan.trials) == 80


def test_what_is_to_be_given_is_refused_with_the_setting_that_gives_it() -> None:
    with pytest.raises(InputError) as caught:
        refuse_stand_ins(planned(STAND_INS + "axes: {domain: [person-01, person-02], method: [none]}"))
    assert str(caught.value) == (
        "the grid g can be planned, and cannot run before you give what it stands for: model is to-be-given:sd-v1-1: give --set "
        "model=CompVis/stable-diffusion-v1-1@COMMIT (40 hex digits; `git ls-remote` prints them), or a diffusers folder; data is "
        "to-be-given:people: give --set data=FOLDER, an imagefolder with members and non-members of each domain (docs/published-grids.md)"
    )
    assert caught.value.exit_code == EXIT_INPUT


def test_a_plan_with_all_that_it_needs_is_not_refused() -> None:
    refuse_stand_ins(planned(STAND_INS + "axes: {domain: [all], method: [none]}", "data=tiny-faces", "model=tiny"))


def test_s2l_run_refuses_before_anything_is_written(tmp_path: Path) -> None:
    home, grid = Home(tmp_path), tmp_path / "g.yaml"
    grid.write_text(STAND_INS + "axes: {domain: [all], method: [none]}")
    assert "person-06, and 34 more (40)" in home.run("plan", str(grid)).stdout
    done = home.run("run", str(grid), "--local", check=[EXIT_INPUT])
    assert "data is to-be-given:people" in done.stderr
    assert "model is to-be-given:sd-v1-1" in done.stderr
    assert not home.store.exists()
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data=to-be-given:peeple", 'unknown data "to-be-given:peeple"; allowed: to-be-given:people; did you mean "to-be-given:people"?'),
        ("model=to-be-given:sd", 'unknown model "to-be-given:sd"; allowed: to-be-given:sd-v1-1, to-be-given:sdsm1, to-be-given:sdsm2'),
        ("domain=person-41", 'unknown domain of to-be-given:people "person-41"; allowed: person-01, '),
    ],
)
def test_an_unknown_stand_in_is_told_with_those_there_are(setting: str, message: str) -> None:
    with pytest.raises(GridError, match=f"^--set {setting}: ") as caught:
        planned(STAND_INS + "axes: {domain: [person-01], method: [none]}", setting)
    assert message in str(caught.value)


# --- all domains ---


def test_all_is_every_domain_of_the_data_set_in_axes_and_include() -> None:
    plan = plan_of("axes: {domain: [all], method: [none]}\ninclude: [{domain: all, method: lora, attack_domain: all}]")
    assert plan.axes["domain"] == ["ada", "bo", "cy", "di"]
    assert len(plan.trials) == 4 + 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fixed: {domain: all, method: none}",
            "g.yaml:2: fixed.domain: all is every domain of the data set; write domain: [all] under axes",
        ),
        (
            "axes: {domain: [all, ada], method: [none]}",
            "g.yaml:2: axes.domain[0]: all is every domain of the data set already; leave the others out",
        ),
        (
            "axes: {domain: [all], method: [none], data: [x, y]}",
            "g.yaml:2: axes.domain[0]: all asks for the domains of one data set, and this grid has several; name the domains",
        ),
        (
            "axes: {method: [none]}\nzip: {domain: [all, ada], seed: [0, 1]}",
            "g.yaml:3: zip[0].domain: all cannot move together with others; write domain: [all] under axes",
        ),
    ],
)
def test_all_where_it_says_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(GridError) as caught:
        plan_of(text)
    assert str(caught.value) == message


def test_all_of_a_data_set_that_is_not_there_is_told_where_it_is_asked_for() -> None:
    with pytest.raises(GridError, match=r'^g\.yaml:2: fixed\.data: unknown data "tiny-face"; '):
        planned("name: g\nfixed: {data: tiny-face}\naxes: {domain: [all], method: [none]}")
