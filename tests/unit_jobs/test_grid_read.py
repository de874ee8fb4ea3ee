"""Grid files as they are read: values made canonical, lines known, `--set` applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import GridError
from jobs.grid.document import read_yaml
from jobs.grid.load import SHIPPED, shipped
from jobs.grid.model import label
from jobs.grid.read import grid_of, parse_grid, read_grid
from jobs.plan.expand import expand

TEXT = """
name: ranks
fixed: {lr: 1e-3, alpha: rank}
axes:
  domain: [zorvik, mellune]
  method: [none, lora]
  rank: [1, 8]
  seed: [0]
when:
  rank: {method: lora}
"""


def test_a_number_that_yaml_reads_as_text_is_a_number() -> None:
    assert parse_grid(TEXT, "g").fixed["lr"] == 0.001


def test_yaml_values_know_their_lines() -> None:
    lines = read_yaml(TEXT, "g").lines
    assert lines["axes", "rank"] == 7
    assert lines["axes", "method", 1] == 6


def test_dates_and_words_stay_text() -> None:
    assert read_yaml("[2026-11-24, =, plain]", "g").value == ["2026-11-24", "=", "plain"]


def test_the_same_anchor_may_be_used_twice() -> None:
    assert read_yaml("a: &x [1, 2]\nb: *x", "g").value == {"a": [1, 2], "b": [1, 2]}


def test_a_file_with_two_documents_is_refused() -> None:
    with pytest.raises(GridError, match="g:2: this is not YAML: but found another document"):
        read_yaml("a: 1\n---\nb: 2\n", "g")


def test_a_file_of_megabytes_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(GridError, match="a grid file has at most 2,000,000"):
        read_yaml("#" * 2_000_001, "g")


def test_set_replaces_the_values_of_an_axis() -> None:
    grid = parse_grid(TEXT, "g", ["seed=3,4", "rank=2"])
    assert grid.axes["seed"] == (3, 4)
    assert grid.axes["rank"] == (2,)
    assert grid.document["axes"]["seed"] == [3, 4]


def test_set_replaces_a_fixed_value_and_adds_a_new_one() -> None:
    grid = parse_grid(TEXT, "g", ["lr=1e-5", "steps=7"])
    assert grid.fixed["lr"] == 1e-5
    assert grid.fixed["steps"] == 7
    assert "lr" not in grid.axes


def test_set_makes_an_axis_of_a_fixed_value_when_given_several() -> None:
    grid = parse_grid(TEXT, "g", ["lr=1e-5,1e-4"])
    assert grid.axes["lr"] == (1e-5, 1e-4)
    assert "lr" not in grid.fixed


def test_set_replaces_a_list_that_is_one_value() -> None:
    assert label(parse_grid(TEXT, "g", ["attacks=secmi,{kind: pia, t: 60}"]).fixed["attacks"]) == "secmi,pia-t60"
    assert label(parse_grid(TEXT, "g", ["fprs=0.05"]).fixed["fprs"]) == "0.05"
    assert label(parse_grid(TEXT, "g", ["sp_prompts=photo"]).fixed["sp_prompts"]) == "photo"


def test_set_of_lists_makes_an_axis_of_them() -> None:
    grid = parse_grid(TEXT, "g", ["attacks=[secmi],[pia, loss]"])
    assert [label(value) for value in grid.axes["attacks"]] == ["secmi", "pia,loss"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("sed=1", '--set sed=1: unknown setting "sed"; allowed: '),
        ("seed", '--set seed: got "seed"; write --set axis=value or --set axis=value,value'),
        ("seed=", "--set seed=: no value is given; write --set seed=value"),
        ("seed=x", '--set seed=x: axes.seed[0]: got "x"; it must be a whole number'),
        ("steps=0", "--set steps=0: fixed.steps: got 0; it must be greater than 0"),
        ("seed=1,1", "--set seed=1,1: axes.seed[1]: 1 is given twice; leave one out"),
        ("seed=[", "--set seed=[: this is not YAML"),
        ("seed=!!python/name:os.system ", "the YAML tag !!python/name:os.system is refused"),
    ],
)
def test_a_wrong_set_is_told_by_its_own_words(argument: str, message: str) -> None:
    with pytest.raises(GridError) as caught:
        parse_grid(TEXT, "g", [argument])
    assert message in str(caught.value)


def test_set_of_a_zipped_setting_is_refused() -> None:
    text = "name: g\naxes: {domain: [zorvik], method: [none]}\nzip: {seed: [0, 1], sp_seed: [0, 1]}"
    with pytest.raises(GridError, match="--set seed=2: seed moves together with others in the zip group of g; edit the file instead"):
        parse_grid(text, "g", ["seed=2"])


def test_the_document_of_a_grid_reads_back_as_the_same_grid() -> None:
    grid = parse_grid(TEXT, "g", ["seed=3,4"])
    again = grid_of(grid.document, "store")
    assert (again.fixed, again.axes, again.when) == (grid.fixed, grid.axes, grid.when)


def test_every_shipped_grid_reads_and_says_what_it_is() -> None:
    assert set(shipped()) >= {"quickstart", "smoke"}
    for name, words in shipped().items():
        assert read_grid(name).name == name
        assert len(words) > 20


def test_a_path_is_read_before_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smoke").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    assert read_grid("smoke").name == "ranks"
    assert read_grid(SHIPPED / "smoke.yaml").name == "smoke"


@pytest.mark.parametrize(("in_file", "given"), [("steps", "epochs"), ("epochs", "steps")])
def test_set_of_steps_takes_the_place_of_epochs_and_the_other_way_round(in_file: str, given: str) -> None:
    fixed = f"name: g\nfixed: {{domain: zorvik, {in_file}: 9}}\naxes: {{method: [lora]}}\nby_method: {{lora: {{{in_file}: 8}}}}"
    swept = f"name: g\nfixed: {{domain: zorvik}}\naxes: {{method: [lora], {in_file}: [3, 4]}}"
    for text in (fixed, swept):
        grid = parse_grid(text, "g", [f"{given}=2"])
        assert grid.fixed[given] == 2
        assert in_file not in {**grid.fixed, **grid.axes, **grid.by_method.get("lora", {})}
    with pytest.raises(GridError, match="are both given; keep one of them"):
        expand(parse_grid(fixed, "g", ["steps=2", "epochs=2"]))
