"""Where values lie on an axis: numbers in their order, zero and words beside them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from dashboards.scale import number_words, scale_of


def steps(values: list[Any]) -> list[float]:
    at = scale_of(values).at
    return [round(at[second] - at[first], 6) for first, second in pairwise(values)]


@pytest.mark.parametrize("values", [[10, 20, 50], [0, 0.5, 1], [-1, 0, 100], [5, 6, 50]])
def test_numbers_within_a_decade_and_below_zero_are_spaced_as_they_are(values: list[Any]) -> None:
    scale = scale_of(values)
    assert not scale.log
    gaps = steps(values)
    assert gaps[0] / gaps[1] == pytest.approx((values[1] - values[0]) / (values[2] - values[1]), rel=1e-4)


@pytest.mark.parametrize("values", [[1, 2, 4, 8, 16], [1e-6, 1e-5, 1e-4], [1, 2, 4]])
def test_numbers_over_a_decade_or_in_doublings_are_spaced_by_their_ratio(values: list[Any]) -> None:
    assert scale_of(values).log
    assert len(set(steps(values))) == 1


def test_zero_stands_beside_a_logarithmic_scale_and_is_joined_to_nothing() -> None:
    scale = scale_of([0, 0.001, 0.01, 0.1])
    assert scale.log
    assert scale.detached == {0}
    assert scale.at[0] == 0.0 < scale.at[0.001]
    assert scale_of([0, 1, 2]).detached == frozenset()


def test_words_stand_on_the_side_on_which_the_grid_names_them() -> None:
    right, left = scale_of([0.9, 0.99, 0.999, "match"]), scale_of(["none", 1, 2, 3])
    assert right.at["match"] == 1.0 > right.at[0.999]
    assert left.at["none"] == 0.0 < left.at[1]
    assert (right.detached, left.detached) == ({"match"}, {"none"})


def test_everything_lies_between_zero_and_one_and_a_single_value_in_the_middle() -> None:
    for values in ([0, 3, 300, "a", "b"], ["x", 1, 2, 4], [-5, 5]):
        positions = scale_of(values).at.values()
        assert (min(positions), max(positions)) == (0.0, 1.0)
    assert scale_of([7]).at == {7: 0.5}


def test_labels_that_would_lie_on_each_other_are_left_out_but_never_the_ends_or_zero() -> None:
    values = [0, *range(100, 200)]
    labels = [label for _, label in scale_of(values).ticks()]
    assert len(labels) < 20
    assert {labels[0], labels[-1]} == {"0", "199"}
    crowded = [0, 1, 1.01, 1.02, 400]
    assert [label for _, label in scale_of(crowded).ticks()][:2] == ["0", "1"]


@pytest.mark.parametrize(
    ("value", "words"),
    [(1e-6, "1e−6"), (0.0002, "0.0002"), (2000, "2000"), (32.0, "32"), (1e7, "1e7"), (-3, "−3"), ("match", "match"), ("a-b", "a-b")],
)
def test_values_are_written_as_people_write_them(value: Any, words: str) -> None:
    assert number_words(value) == words
