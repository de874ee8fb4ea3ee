"""Extraction as a whole: planted copies among candidates, what counts as what, the controls, the curve, and what changes no bit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from s2l_core.extraction import Extraction, blocks, change, extraction
from s2l_core.extraction.counts import count_at
from s2l_core.extraction.table import COLUMNS, read_matches, write_matches
from s2l_core.features import load
from s2l_core.images import ImageRecord, encode_png, square_pixels
from s2l_core.specs.extraction import AlignmentSpec, CliqueSpec, ExtractionSpec
from s2l_core.specs.fidelity import HogFeatures, PixelFeatures

torch.set_num_threads(1)
SIDE = 16
SPEC = ExtractionSpec(
    candidates=60,
    features=PixelFeatures(side=8),
    keep=None,
    alignment=AlignmentSpec(shift=0, flip=False),
    cliques=CliqueSpec(size=3),
    retrieved=3,
    permutations=99,
)
Picture = NDArray[np.uint8]


def pictures(count: int, seed: int) -> Picture:
    """Coarse patterns: no two are near, and shifts by a pixel are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, SIDE // 2, SIDE // 2, 3), dtype=np.uint8)
    return coarse.repeat(2, axis=1).repeat(2, axis=2)


def records(images: Picture, name: str, member: bool | None) -> list[ImageRecord]:
    return [ImageRecord(f"{name}-{number:04d}", encode_png(one), name, "zorvik", member) for number, one in enumerate(images)]


MEMBER_PICTURES, OTHER_PICTURES = pictures(12, 1), pictures(20, 2)
MEMBERS, NON_MEMBERS = records(MEMBER_PICTURES, "zorvik", True), records(OTHER_PICTURES, "other", False)


def generated(images: Picture, start: int = 0) -> list[ImageRecord]:
    return [replace(one, provenance={"index": start + number}) for number, one in enumerate(records(images, "sp-7", None))]


def planted(copies: dict[int, Picture], count: int = 30, seed: int = 3) -> list[ImageRecord]:
    """Candidates that are near to nothing, with copies in some places."""
    images = pictures(count, seed)
    for place, image in copies.items():
        images[place] = image
    return generated(images)


def noisy(image: Picture, distance: float) -> Picture:
    step = np.where(image > 127, -1, 1) * round(distance * 255)
    return (image + step).astype(np.uint8)


def measured(candidates: Sequence[ImageRecord], spec: ExtractionSpec = SPEC, **options: Any) -> Extraction:
    return extraction(candidates, MEMBERS, NON_MEMBERS, load(spec.features), spec, **options)


# --- planted copies ---


def test_distinct_members_are_counted_not_the_candidates_that_show_them() -> None:
    copies = {4: MEMBER_PICTURES[2], 9: MEMBER_PICTURES[2], 11: noisy(MEMBER_PICTURES[2], 0.1), 20: MEMBER_PICTURES[7]}
    found = measured(planted(copies)).document["rules"]["l2"]["members"]
    assert (found["images"], found["touched"], found["candidates"], found["most"], found["found_at"]) == (2, 2, 4, 3, [5, 21])
    assert (found["shown_once"], found["shown_twice"]) == (1, 0)


def test_copies_just_under_the_threshold_count_and_those_just_over_do_not() -> None:
    found = measured(planted({1: noisy(MEMBER_PICTURES[0], 0.149), 2: noisy(MEMBER_PICTURES[1], 0.153)}))
    assert found.document["rules"]["l2"]["members"]["images"] == 1
    assert found.document["rules"]["tile_max"]["members"]["images"] == 1
    assert found.matches.image == ["zorvik-0000"]
    assert found.matches.l2 == [pytest.approx(38 / 255)]


def test_the_curve_never_falls_and_ends_at_the_count() -> None:
    random = np.random.default_rng(4)
    copies = {int(place): MEMBER_PICTURES[int(which)] for place, which in enumerate(random.integers(0, 12, size=25))}
    found = measured(planted(copies)).document["rules"]["l2"]["members"]
    curve = [count_at(found["found_at"], budget) for budget in range(31)]
    assert curve == sorted(curve)
    assert curve[0] == 0
    assert curve[-1] == found["images"] == len({image.tobytes() for image in copies.values()})
    assert curve[1] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(curve))


def test_false_matches_are_counted_on_as_many_non_members_by_the_same_matcher() -> None:
    """All twenty non-members are copied, twelve of them are looked at: as many as there are members."""
    found = measured(planted({3: MEMBER_PICTURES[5], **{4 + number: image for number, image in enumerate(OTHER_PICTURES)}})).document
    assert found["compared"] == 12
    assert found["rules"]["l2"]["members"]["images"] == 1
    assert found["rules"]["l2"]["non_members"]["images"] == 12
    told = found["rules"]["l2"]["precision"]
    assert (told["flagged"], told["members"], told["non_members"], told["value"]) == (13, 1, 12, pytest.approx(1 / 13))
    assert told["p_value"] == 0.01


def test_where_members_are_more_as_many_of_them_are_compared() -> None:
    candidates = planted(dict(enumerate(MEMBER_PICTURES)))
    found = extraction(candidates, MEMBERS, NON_MEMBERS[:5], load(SPEC.features), SPEC).document
    assert found["compared"] == 5
    rule = found["rules"]["l2"]
    assert (rule["members"]["images"], rule["members_compared"]["images"], rule["non_members"]["images"]) == (12, 5, 0)
    assert (rule["precision"]["flagged"], rule["precision"]["members"], rule["precision"]["value"]) == (5, 5, 1.0)


def test_a_matcher_that_knows_nothing_has_no_precision_above_a_half() -> None:
    """Members and non-members are the same pictures: whatever is shown, is shown of both."""
    same = records(MEMBER_PICTURES, "other", False)
    found = extraction(planted({2: MEMBER_PICTURES[3]}), MEMBERS, same, load(SPEC.features), SPEC).document
    nothing = {"members": 0, "non_members": 0, "p_value": None}
    assert found["rules"]["l2"]["precision"] == {"flagged": 1, "value": 0.0, **nothing}
    assert measured(planted({})).document["rules"]["l2"]["precision"] == {"flagged": 0, "value": None, **nothing}


def test_flat_backgrounds_match_by_l2_and_not_by_their_tiles() -> None:
    walls = np.full((2, SIDE, SIDE, 3), 250, dtype=np.uint8)
    walls[0, 1:4, 1:4], walls[1, 12:15, 12:15] = 110, 110
    members = [*MEMBERS, *records(walls[:1], "wall", True)]
    found = extraction(planted({6: walls[1], 8: MEMBER_PICTURES[1]}), members, NON_MEMBERS, load(SPEC.features), SPEC)
    rules = found.document["rules"]
    assert (rules["l2"]["members"]["images"], rules["tile_max"]["members"]["images"]) == (2, 1)
    assert (rules["tile_max"]["precision"]["flagged"], rules["tile_max"]["precision"]["value"]) == (2, 0.5)
    assert found.matches.members_shown("l2") == {"wall-0000", "zorvik-0001"}
    assert found.matches.members_shown("tile_max") == {"zorvik-0001"}


def test_moved_and_mirrored_copies_are_found_where_alignment_is_on() -> None:
    wide = np.random.default_rng(9).integers(0, 256, (1, 10, 10, 3), dtype=np.uint8).repeat(2, axis=1).repeat(2, axis=2)[0]
    members = [*MEMBERS, *records(wide[None, 2:18, 2:18], "moved", True)]
    candidates = planted({5: wide[3:19, 2:18][:, ::-1]})
    on = SPEC.model_copy(update={"alignment": AlignmentSpec(shift=1)})
    plain, aligned = (extraction(candidates, members, NON_MEMBERS, load(SPEC.features), spec) for spec in (SPEC, on))
    assert plain.document["rules"]["l2"]["members"]["images"] == 0
    assert aligned.matches.members_shown("tile_max") == {"moved-0000"}
    assert (aligned.matches.dy, aligned.matches.dx, aligned.matches.flip) == ([-1], [0], [True])
    assert aligned.document["alignments"] == 18


def test_the_pre_filter_leaves_the_copies_and_says_how_similar_they_are() -> None:
    copies = {4: MEMBER_PICTURES[2], 9: noisy(MEMBER_PICTURES[6], 0.1), 17: OTHER_PICTURES[0]}
    kept, whole = (measured(planted(copies), SPEC.model_copy(update={"keep": keep})) for keep in (1, None))
    assert kept.matches.image == whole.matches.image
    assert kept.document["rules"]["l2"]["members"] == whole.document["rules"]["l2"]["members"]
    assert kept.matches.cosine[0] == pytest.approx(1)
    assert 0.9 < kept.matches.cosine[1] < 1  # type: ignore[operator]
    assert whole.matches.cosine == [None] * len(whole.matches.image)


def test_what_the_pre_filter_drops_is_not_found() -> None:
    """A black copy of a black member: its HOG is zero, similar to nothing, and the first member is kept instead."""
    black = np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8)
    members = [*MEMBERS, *records(black, "zzz", True)]
    for keep, expected in ((1, 0), (None, 1)):
        spec = SPEC.model_copy(update={"features": HogFeatures(side=16), "keep": keep})
        found = extraction(planted({0: black[0]}), members, NON_MEMBERS, load(spec.features), spec)
        assert found.document["rules"]["l2"]["members"]["images"] == expected


def test_cliques_tell_what_is_repeated_and_whether_it_is_a_member() -> None:
    copies = {number: noisy(MEMBER_PICTURES[2], 0.02 * (number % 2)) for number in range(6)}
    copies |= {number: noisy(pictures(1, 50)[0], 0.02 * (number % 2)) for number in range(10, 14)}
    found = measured(planted(copies)).document["cliques"]
    assert (found["found"], found["sizes"], found["exact"]) == (2, [6, 4], True)
    assert found["l2"] == found["tile_max"] == {"matched": 1, "members": 1, "precision": 0.5}
    assert measured(planted({})).document["cliques"]["l2"] == {"matched": 0, "members": 0, "precision": None}


def test_the_retrieval_precision_is_high_for_copies_of_members_and_low_for_those_of_non_members() -> None:
    inside = measured(generated(MEMBER_PICTURES)).document["retrieval"]
    outside = measured(generated(OTHER_PICTURES)).document["retrieval"]
    assert inside["value"] > 0.6 > 0.5 > outside["value"]
    assert (inside["k"], inside["each"], inside["chance"]) == (3, 12, 0.5)


def test_distances_to_the_nearest_are_told_for_both_sides() -> None:
    found = measured(planted({3: noisy(MEMBER_PICTURES[4], 0.2)})).document["nearest"]
    assert found["members"]["l2"]["least"] == pytest.approx(51 / 255)
    assert found["non_members"]["l2"]["least"] > 0.25
    for side in found.values():
        assert side["l2"]["least"] <= side["l2"]["q01"] <= side["l2"]["q05"] <= side["l2"]["median"] <= side["tile_max"]["median"]


# --- positions ---


def test_a_position_counts_what_was_left_out_before_it() -> None:
    """The safety checker dropped candidates 0 to 9: the first that is left was the eleventh to be generated."""
    found = measured(generated(MEMBER_PICTURES[:1], start=10)).document["rules"]["l2"]["members"]
    assert found["found_at"] == [11]


def test_candidates_without_an_index_count_in_their_order() -> None:
    candidates = [replace(one, provenance={}) for one in planted({6: MEMBER_PICTURES[0]})]
    assert measured(candidates).document["rules"]["l2"]["members"]["found_at"] == [7]


# --- what changes no bit ---


def dumped(found: Extraction) -> str:
    return json.dumps([found.document, found.matches.__dict__], sort_keys=True, allow_nan=False)


@pytest.mark.parametrize("keep", [None, 4])
def test_no_order_and_no_budget_changes_a_bit(keep: int | None) -> None:
    spec = SPEC.model_copy(update={"keep": keep, "alignment": AlignmentSpec(shift=1)})
    copies = {4: MEMBER_PICTURES[2], 9: noisy(MEMBER_PICTURES[2], 0.1), 11: OTHER_PICTURES[0], 12: OTHER_PICTURES[9]}
    candidates = planted(copies)
    whole = extraction(candidates, MEMBERS, NON_MEMBERS, load(spec.features), spec)
    random = np.random.default_rng(0)
    shuffled = [[one[place] for place in random.permutation(len(one))] for one in (candidates, MEMBERS, NON_MEMBERS)]
    assert dumped(extraction(*shuffled, load(spec.features), spec)) == dumped(whole)
    assert dumped(extraction(candidates, MEMBERS, NON_MEMBERS, load(spec.features), spec, budget=400_000)) == dumped(whole)


def test_images_of_another_size_are_compared_at_the_candidates_own() -> None:
    doubled = records(MEMBER_PICTURES.repeat(2, axis=1).repeat(2, axis=2), "zorvik", True)
    candidates = planted({3: MEMBER_PICTURES[5]})
    found = extraction(candidates, doubled, NON_MEMBERS, load(SPEC.features), SPEC)
    assert found.document["side"] == SIDE
    assert found.matches.members_shown("l2") == {"zorvik-0005"}
    small = extraction(candidates, doubled, NON_MEMBERS, load(SPEC.features), SPEC.model_copy(update={"side": 8}))
    assert small.document["side"] == 8
    assert small.matches.members_shown("l2") == {"zorvik-0005"}


def test_a_small_set_is_decoded_once_and_a_large_one_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    monkeypatch.setattr(blocks, "square_pixels", lambda part, side: decoded.append(len(part)) or square_pixels(part, side))
    for limit, expected in ((2**30, [12]), (1000, [2, 1])):
        monkeypatch.setattr(blocks, "KEPT_BYTES", limit)
        rows = blocks.EncodedImages(MEMBERS, SIDE)
        assert rows.shape == (12, SIDE, SIDE, 3)
        assert np.array_equal(rows[3:5], MEMBER_PICTURES[3:5])
        assert np.array_equal(rows[8:9], MEMBER_PICTURES[8:9])
        assert decoded == expected
        decoded.clear()


# --- what is left ---


def test_the_document_and_the_table_hold_no_image_and_no_hash_of_one(tmp_path: Path) -> None:
    found = measured(planted(dict(enumerate(MEMBER_PICTURES))))
    write_matches(tmp_path / "matches.parquet", found.matches)
    text = json.dumps(found.document, allow_nan=False)
    table = (tmp_path / "matches.parquet").read_bytes()
    for one in (*MEMBERS, *NON_MEMBERS):
        assert one.content not in text
        assert one.content.encode() not in table
        assert one.image not in table
    assert not any(one.image_id in text for one in MEMBERS), "names of members stand in the table alone"
    assert len(text) < 5000


def test_the_table_is_read_as_it_was_written_and_equal_tables_are_equal_bytes(tmp_path: Path) -> None:
    found = measured(planted({4: MEMBER_PICTURES[2], 9: OTHER_PICTURES[3]}), SPEC.model_copy(update={"keep": 3})).matches
    for name in ("one", "other"):
        write_matches(tmp_path / f"{name}.parquet", found)
    assert read_matches(tmp_path / "one.parquet") == found
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "other.parquet").read_bytes()
    assert set(COLUMNS) == set(found.__dict__)


def test_another_table_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet", compression="none", use_dictionary=False)
    with pytest.raises(ValueError, match=r"x.parquet is no table of matches; got columns \['x'\], expected candidate, position"):
        read_matches(tmp_path / "x.parquet")


def test_nothing_near_is_an_empty_table(tmp_path: Path) -> None:
    found = measured(planted({})).matches
    write_matches(tmp_path / "none.parquet", found)
    assert read_matches(tmp_path / "none.parquet") == found
    assert found.image == []


# --- before and after ---


def test_a_change_says_which_members_are_new_and_which_are_lost() -> None:
    before = measured(planted({1: MEMBER_PICTURES[0], 2: MEMBER_PICTURES[1]}))
    after = measured(planted({1: MEMBER_PICTURES[1], 5: MEMBER_PICTURES[2], 7: MEMBER_PICTURES[3], 8: OTHER_PICTURES[4]}))
    found = change(before, after)["l2"]
    counted = {name: found["members"][name] for name in ("before", "after", "delta", "new", "lost", "p_value")}
    assert counted == {"before": 2, "after": 3, "delta": 1, "new": 2, "lost": 1, "p_value": 1.0}
    assert found["members"]["low"] < 0 < 1 < found["members"]["high"], "one more of three is no change that another set would show"
    assert found["non_members"]["before"] == 0
    assert found["non_members"]["delta"] == found["non_members"]["after"]


def test_what_was_measured_in_two_ways_is_not_compared() -> None:
    other = measured(planted({}), SPEC.model_copy(update={"threshold": 0.1}))
    with pytest.raises(ValueError, match=r"spec differs: got before .* both must be measured in one way"):
        change(measured(planted({})), other)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="got 30 candidates, 0 members and 20 non-members"):
        extraction(planted({}), [], NON_MEMBERS, load(SPEC.features), SPEC)
