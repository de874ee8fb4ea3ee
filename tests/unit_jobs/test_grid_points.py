"""Which points a grid has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import GridError
from jobs.grid.model import POSITION, label
from jobs.grid.points import points
from jobs.grid.read import grid_of, parse_grid, read_grid
from jobs.plan.expand import expand

BASE = "name: g\naxes:\n  domain: [zorvik, mellune]\n  method: [none, dreambooth, lora]\n"


def told(text: str, *names: str, sets: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    """The points' values of some settings, in order."""
    rows = points(parse_grid(text, "g", sets)).rows
    return [tuple(label(row[POSITION[name]]) for name in names) for row, _ in rows]


def test_axes_are_a_product_in_file_order() -> None:
    assert told(BASE + "  seed: [0, 1]\n", "domain", "method", "seed")[:4] == [
        ("zorvik", "none", 0),
        ("zorvik", "none", 1),
        ("zorvik", "dreambooth", 0),
        ("zorvik", "dreambooth", 1),
    ]


def test_a_conditional_axis_multiplies_only_where_its_condition_holds() -> None:
    found = told(BASE + "  rank: [1, 8]\nwhen: {rank: {method: lora}}", "domain", "method", "rank")
    assert found == [
        ("zorvik", "none", None),
        ("zorvik", "dreambooth", None),
        ("zorvik", "lora", 1),
        ("zorvik", "lora", 8),
        ("mellune", "none", None),
        ("mellune", "dreambooth", None),
        ("mellune", "lora", 1),
        ("mellune", "lora", 8),
    ]


def test_a_condition_may_ask_about_a_conditional_axis() -> None:
    text = BASE + "  dropout: [0.1, 0.2]\n  rank: [1, 8]\nwhen: {dropout: {rank: 8}, rank: {method: lora, domain: zorvik}}"
    assert [point for point in told(text, "rank", "dropout") if point[0]] == [(1, None), (8, 0.1), (8, 0.2)]


def test_a_condition_may_hold_for_a_fixed_setting() -> None:
    text = BASE + "fixed: {lr: 1e-4}\nwhen: {lr: {method: [lora]}}"
    assert told(text, "method", "lr")[:3] == [("none", None), ("dreambooth", None), ("lora", 1e-4)]


def test_zipped_settings_move_together() -> None:
    text = "name: g\naxes: {domain: [zorvik], method: [lora]}\nzip: {rank: [1, 8], lr: [1e-3, 1e-4]}"
    assert told(text, "rank", "lr") == [(1, 1e-3), (8, 1e-4)]


def test_several_zip_groups_multiply() -> None:
    text = "name: g\naxes: {domain: [zorvik], method: [lora]}\nzip: [{rank: [1, 8], lr: [1e-3, 1e-4]}, {seed: [0, 1], sp_seed: [5, 6]}]"
    assert told(text, "rank", "lr", "seed", "sp_seed") == [(1, 1e-3, 0, 5), (1, 1e-3, 1, 6), (8, 1e-4, 0, 5), (8, 1e-4, 1, 6)]


def test_include_takes_all_values_of_the_axes_it_does_not_name() -> None:
    text = BASE + "  rank: [1, 8]\nwhen: {rank: {method: lora}}\ninclude: [{method: dreambooth, train_on: members}]"
    assert told(text, "domain", "method", "rank", "train_on")[8:] == [
        ("zorvik", "dreambooth", None, "members"),
        ("mellune", "dreambooth", None, "members"),
    ]
    assert points(parse_grid(text, "g")).axes == ("domain", "method", "rank", "train_on")


def test_include_keeps_to_the_conditions_and_multiplies_its_lists() -> None:
    text = BASE + "  rank: [1, 8]\nwhen: {rank: {method: lora}}\ninclude: [{domain: tavrox, method: [none, lora], seed: [3, 4]}]"
    assert told(text, "domain", "method", "rank", "seed")[8:] == [
        ("tavrox", "none", None, 3),
        ("tavrox", "none", None, 4),
        ("tavrox", "lora", 1, 3),
        ("tavrox", "lora", 8, 3),
        ("tavrox", "lora", 1, 4),
        ("tavrox", "lora", 8, 4),
    ]


def test_include_alone_is_a_grid() -> None:
    assert told("name: g\ninclude: [{domain: zorvik, method: none}, {domain: mellune, method: [none, lora]}]", "domain", "method") == [
        ("zorvik", "none"),
        ("mellune", "none"),
        ("mellune", "lora"),
    ]


def test_fixed_alone_is_one_point() -> None:
    assert told("name: g\nfixed: {domain: zorvik, method: none}", "domain", "method") == [("zorvik", "none")]


def test_exclude_drops_what_it_matches_and_include_brings_it_back() -> None:
    text = BASE + "exclude: [{domain: mellune, method: [dreambooth, lora]}]\ninclude: [{domain: mellune, method: lora}]"
    assert told(text, "domain", "method") == [
        ("zorvik", "none"),
        ("zorvik", "dreambooth"),
        ("zorvik", "lora"),
        ("mellune", "none"),
        ("mellune", "lora"),
    ]


def test_an_exclude_that_a_set_has_emptied_is_a_notice() -> None:
    rows = points(parse_grid(BASE + "exclude: [{domain: mellune, method: lora}]", "g", ["domain=zorvik"]))
    assert rows.notices == ["g:5: exclude[0]: matches no point of the grid after --set domain=zorvik"]
    assert len(rows.rows) == 3


def test_a_condition_that_a_set_has_emptied_is_a_notice() -> None:
    rows = points(parse_grid(BASE + "  rank: [1]\nwhen: {rank: {method: lora}}", "g", ["method=none"]))
    assert rows.notices == ["g:6: when.rank: holds for no point of the grid, so that rank is never used after --set method=none"]


FIXED = "name: g\nfixed: {alpha: rank, sigma: match, match_method: lora}\naxes:\n  domain: [zorvik]\n  method: [none, lora, gaussian]\n"


def test_a_fixed_value_that_a_set_has_left_without_a_method_is_a_notice() -> None:
    whole, part = (expand(parse_grid(FIXED, "g", sets)) for sets in ((), ("method=none",)))
    after = "is left aside after --set method=none"
    assert whole.notices == []
    assert part.notices == [
        f"g:2: fixed.alpha: no method of this grid trains a LoRA (none), so that alpha {after}",
        f"g:2: fixed.sigma: no method of this grid adds noise (none), so that sigma {after}",
        f"g:2: fixed.match_method: no method of this grid adds noise (none), so that match_method {after}",
    ]
    loud = expand(parse_grid(FIXED, "g", ["method=none,gaussian", "sigma=0.1"]))
    assert any(told.startswith("g:2: fixed.match_method: no point of this grid has `sigma: match`") for told in loud.notices)
    assert {trial.key for trial in part.trials} < {trial.key for trial in whole.trials}
    assert expand(grid_of(part.document, "again")).grid_key == part.grid_key


def test_a_fixed_value_that_a_set_gives_to_no_method_is_refused() -> None:
    with pytest.raises(GridError, match=r"--set alpha=4: fixed\.alpha: no method of this grid trains a LoRA \(none\); leave it out"):
        expand(parse_grid(FIXED, "g", ["method=none", "alpha=4"]))


def test_the_quickstart_runs_with_the_methods_that_train_no_lora() -> None:
    keys = {trial.key for trial in expand(read_grid("quickstart", ["method=none,dreambooth"])).trials}
    assert len(keys) == 9
    assert keys < {trial.key for trial in expand(read_grid("quickstart")).trials}


def test_equal_points_in_two_includes_are_refused() -> None:
    with pytest.raises(GridError, match=r"include\[1\]: the point domain=tavrox, method=none is in the grid already"):
        told(BASE + "include: [{domain: tavrox, method: none}, {domain: [quilbo, tavrox], method: none}]", "domain")


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=5, unique=True), st.lists(st.integers(1, 50), min_size=1, max_size=5, unique=True))
def test_the_size_of_a_grid_is_the_product_where_conditions_hold(seeds: list[int], ranks: list[int]) -> None:
    text = BASE + f"  seed: {seeds}\n  rank: {ranks}\nwhen: {{rank: {{method: lora}}}}"
    found = told(text, "domain", "method", "seed", "rank")
    assert len(found) == len(set(found)) == 2 * len(seeds) * (2 + len(ranks))
