"""What near pairs amount to: what a candidate shows, counts, precision and its p-value; and the specs behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from s2l_core.extraction.counts import counts, precision, shown
from s2l_core.extraction.matcher import Near, NearPairs
from s2l_core.specs.extraction import ExtractionSpec
from s2l_core.specs.fidelity import ClipFeatures


def near_of(rows: list[tuple[int, int, float, float]], candidates: int = 6) -> Near:
    columns = [np.array(values) for values in zip(*rows, strict=True)] if rows else [np.empty(0, dtype=np.int64)] * 2 + [np.empty(0)] * 2
    pairs = NearPairs(*columns, alignment=np.zeros(len(rows), dtype=np.int64))
    least = np.full(candidates, 0.5)
    return Near(pairs, least, least)


ROWS = [(0, 3, 0.10, 0.20), (0, 5, 0.12, 0.13), (1, 2, 0.11, 0.11), (1, 4, 0.11, 0.11), (2, 5, 0.14, 0.30), (4, 5, 0.01, 0.02)]


def test_a_candidate_shows_the_image_that_is_nearest_by_the_rule_of_equal_ones_the_first() -> None:
    pairs = near_of(ROWS).pairs
    l2, tiles = shown(pairs, "l2", 0.15), shown(pairs, "tile_max", 0.15)
    assert (l2.candidate.tolist(), l2.image.tolist()) == ([0, 1, 2, 4], [3, 2, 5, 5])
    assert (tiles.candidate.tolist(), tiles.image.tolist()) == ([0, 1, 4], [5, 2, 5])


def test_counts_of_known_pairs() -> None:
    pairs = near_of(ROWS).pairs
    l2, tiles = (counts(pairs, rule, 0.15, range(1, 7)) for rule in ("l2", "tile_max"))
    assert l2 == {"images": 3, "touched": 4, "candidates": 4, "most": 2, "shown_once": 2, "shown_twice": 1, "found_at": [1, 2, 3]}
    assert tiles == {"images": 2, "touched": 3, "candidates": 3, "most": 2, "shown_once": 1, "shown_twice": 1, "found_at": [1, 2]}
    backwards = counts(pairs, "l2", 0.15, [60, 50, 40, 30, 20, 10])
    assert backwards["found_at"] == [20, 50, 60], "an image is found by the earliest candidate that shows it"
    none = counts(near_of([]).pairs, "l2", 0.15, range(1, 7))
    assert none == {"images": 0, "touched": 0, "candidates": 0, "most": 0, "shown_once": 0, "shown_twice": 0, "found_at": []}


def test_of_a_candidate_that_is_near_to_both_sides_the_nearer_one_counts() -> None:
    members = near_of([(0, 1, 0.10, 0.10), (1, 1, 0.10, 0.10), (2, 3, 0.1, 0.4)])
    others = near_of([(0, 0, 0.12, 0.12), (1, 0, 0.09, 0.09), (3, 2, 0.05, 0.2)])
    found = [precision(members, others, rule, 0.15, each=6, permutations=99) for rule in ("l2", "tile_max")]
    assert [(one["flagged"], one["members"], one["non_members"], one["value"]) for one in found] == [(4, 2, 2, 0.5), (4, 1, 1, 0.25)]


def test_one_member_shown_by_many_candidates_is_little_evidence_and_many_members_are_much() -> None:
    """Twenty candidates each: all of one member, or of twenty members. No non-member is shown."""
    nobody = near_of([], 20)
    one = precision(near_of([(n, 3, 0.1, 0.1) for n in range(20)], 20), nobody, "l2", 0.15, each=30, permutations=199)
    many = precision(near_of([(n, n, 0.1, 0.1) for n in range(20)], 20), nobody, "l2", 0.15, each=30, permutations=199)
    assert one["value"] == many["value"] == 1.0
    assert one["p_value"] == 1.0, "any labelling gives that image to one side"
    assert many["p_value"] == 0.005


# --- specs ---


def test_the_defaults_are_the_published_protocol() -> None:
    spec = ExtractionSpec()
    assert (spec.candidates, spec.threshold, spec.features, spec.tiles, spec.cliques.size) == (5000, 0.15, ClipFeatures(), 4, 10)
    assert spec.alignment.shift > 0


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"threshold": 1}, {"tiles": 0}, {"keep": 0}, {"cliques": {"size": 1}}, {"shift": 1}])
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExtractionSpec(**wrong)
