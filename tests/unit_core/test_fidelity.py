"""Fidelity on sets whose answer is known: copies of members, copies of non-members, sets of one distribution, wrong identities."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from s2l_core.faces import records
from s2l_core.features import load
from s2l_core.fidelity import Judge, change, fidelity, neighbours
from s2l_core.fidelity.identity import judge_of
from s2l_core.fidelity.neighbours import cosine, feature_l2, nearest_of, pixel_l2
from s2l_core.fidelity.permutation import mean_difference, nearest_difference, p_value
from s2l_core.images import ImageRecord, encode_png
from s2l_core.specs.fidelity import FidelitySpec, HogFeatures, PixelFeatures

SPEC = FidelitySpec(features=PixelFeatures(side=8), bootstrap=200, permutations=99, draws=4)
EXTRACTOR = load(SPEC.features)
DATA = records("zorvik", seed=0, members=12, non_members=20)
MEMBERS, NON_MEMBERS = DATA[:12], DATA[12:]
PEOPLE = ("zorvik", "mellune", "brundlo")


def as_drawn(images: Sequence[ImageRecord]) -> list[ImageRecord]:
    return [replace(image, image_id=f"sp-0-{number:06d}", member=None) for number, image in enumerate(images)]


FRESH = as_drawn(records("zorvik", seed=9, members=12, non_members=1)[:12])


def measured(drawn: Sequence[ImageRecord], spec: FidelitySpec = SPEC, **settings: Any) -> dict[str, Any]:
    return fidelity(drawn, MEMBERS, NON_MEMBERS, load(spec.features), spec, **settings)


# --- distances ---


def test_pixel_distance_is_the_root_mean_square_on_the_unit_interval() -> None:
    black, white = np.zeros((1, 4, 4, 3), dtype=np.uint8), np.full((1, 4, 4, 3), 255, dtype=np.uint8)
    half = white.copy()
    half[0, :2] = 0
    assert pixel_l2(black, np.concatenate([black, white, half])).tolist() == [[0.0, 1.0, pytest.approx(np.sqrt(0.5))]]
    a, b = (np.random.default_rng(seed).integers(0, 256, (7, 5, 5, 3), dtype=np.uint8) for seed in range(2))
    expected = np.sqrt((((a[:, None] / 255.0 - b / 255.0) ** 2).reshape(7, 7, -1)).mean(axis=-1))
    assert np.allclose(pixel_l2(a, b), expected, rtol=1e-12)


def test_pixel_distances_have_the_same_bits_in_any_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (np.random.default_rng(seed).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8) for seed in range(2))
    whole = pixel_l2(a, b)
    monkeypatch.setattr(neighbours, "BLOCK_NUMBERS", 2 * 768)
    assert np.array_equal(pixel_l2(a, b), whole)
    assert np.array_equal(pixel_l2(a, a).diagonal(), np.zeros(9))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_nearest_of_k_is_the_mean_over_all_choices_of_k(k: int) -> None:
    distances = np.random.default_rng(k).random((3, 5))
    expected = np.mean([distances[:, chosen].min(axis=1) for chosen in itertools.combinations(range(5), k)], axis=0)
    assert np.allclose(nearest_of(distances, k), expected, rtol=1e-12)


def test_the_nearest_of_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="the nearest of 6 cannot be chosen from 5 images"):
        nearest_of(np.zeros((1, 5)), 6)


def test_cosine_ignores_length_and_a_zero_vector_is_like_nothing() -> None:
    found = cosine(np.array([[2.0, 0], [0, 0]]), np.array([[5.0, 0], [0, 1], [-1, 0]]))
    assert found.tolist() == [[1, 0, -1], [0, 0, 0]]


# --- labels that mean nothing ---


def test_the_permuted_statistics_are_the_ones_that_are_reported() -> None:
    random = np.random.default_rng(0)
    distances = random.random((6, 13))
    label = np.arange(13) < 5
    expected = nearest_of(distances[:, :5], 4).mean() - nearest_of(distances[:, 5:], 4).mean()
    assert nearest_difference(distances, 5, 4)(label) == pytest.approx(expected, rel=1e-12)
    assert mean_difference(distances)(label) == pytest.approx(distances[:, :5].mean() - distances[:, 5:].mean(), rel=1e-12)


def test_p_is_rarely_small_where_members_and_non_members_are_of_one_distribution() -> None:
    random = np.random.default_rng(0)
    found = []
    for _ in range(120):
        drawn, others = random.normal(size=(8, 4)), random.normal(size=(18, 4))
        difference = nearest_difference(feature_l2(drawn, others), 6, 6)
        found.append(p_value(difference, 6, 12, permutations=99, random=random))
    small = np.mean(np.array(found) <= 0.1)
    assert 0.02 < small < 0.2
    assert min(found) >= 0.01


# --- documents of known sets ---


def test_copies_of_members_lie_at_no_distance_from_members() -> None:
    found = measured(as_drawn(MEMBERS))
    assert (found["n_drawn"], found["n_member"], found["n_non_member"], found["compared"]) == (12, 12, 20, 12)
    for name in ("nearest_pixel_l2", "nearest_feature_l2"):
        assert found[name]["members"] == pytest.approx({"value": 0, "low": 0, "high": 0}, abs=1e-7)
        assert found[name]["smallest"]["members"] == pytest.approx(0, abs=1e-7)
        assert found[name]["smallest"]["non_members"] > 0.05
        assert found[name]["difference"]["value"] == pytest.approx(-found[name]["non_members"]["value"])
        assert found[name]["difference"]["p_value"] == 0.01
    assert found["cosine"]["nearest"]["members"]["value"] == pytest.approx(1)
    assert found["cosine"]["largest"]["members"] == pytest.approx(1)
    assert found["frechet"]["members"] == pytest.approx({"value": 0, "spread": 0}, abs=1e-9)
    assert found["frechet"]["non_members"]["value"] == pytest.approx(found["frechet"]["members_to_non_members"]["value"])


def test_copies_of_non_members_lie_nearer_to_non_members() -> None:
    found = measured(as_drawn(NON_MEMBERS))
    assert found["nearest_pixel_l2"]["smallest"]["non_members"] == 0
    assert found["nearest_pixel_l2"]["difference"]["value"] > 0.02
    assert found["nearest_pixel_l2"]["difference"]["p_value"] == 0.01
    assert found["frechet"]["all_images"]["non_members"] == pytest.approx(0, abs=1e-9)
    assert found["frechet"]["members"]["value"] > 0.1


@pytest.mark.parametrize("features", [PixelFeatures(side=8), HogFeatures()], ids=["pixels", "hog"])
def test_fresh_drawings_of_the_same_person_are_near_to_neither(features: Any) -> None:
    found = measured(FRESH, SPEC.model_copy(update={"features": features}))
    for p in (found["nearest_pixel_l2"], found["nearest_feature_l2"], found["cosine"]["mean"]):
        assert p["difference"]["p_value"] > 0.01
    frechet = found["frechet"]
    assert frechet["size"] == 12
    assert frechet["members"]["value"] == pytest.approx(frechet["members_to_non_members"]["value"], rel=0.5)


def test_a_larger_set_of_non_members_is_not_nearer_by_its_size_alone() -> None:
    """128 images have a nearer nearest one than 12; compared at 12 of each, they have not."""
    many = records("zorvik", seed=0, members=1, non_members=128)[1:]
    few, most = measured(FRESH), fidelity(FRESH, MEMBERS, many, EXTRACTOR, SPEC)
    assert most["nearest_pixel_l2"]["smallest"]["non_members"] < few["nearest_pixel_l2"]["smallest"]["non_members"]
    assert most["nearest_pixel_l2"]["non_members"]["value"] == pytest.approx(few["nearest_pixel_l2"]["non_members"]["value"], rel=0.05)
    assert most["frechet"]["non_members"]["value"] > most["frechet"]["all_images"]["non_members"]


def test_the_order_of_the_images_changes_no_bit() -> None:
    shuffled = [
        list(np.random.default_rng(seed).permutation(np.array(one, dtype=object))) for seed, one in enumerate((FRESH, MEMBERS, NON_MEMBERS))
    ]
    again = fidelity(*shuffled, EXTRACTOR, SPEC)
    assert json.dumps(again, sort_keys=True) == json.dumps(measured(FRESH), sort_keys=True)


def test_intervals_hold_the_value_and_narrow_with_more_images() -> None:
    many = as_drawn(records("zorvik", seed=9, members=48, non_members=1)[:48])
    few, most = measured(FRESH)["nearest_pixel_l2"]["members"], measured(many)["nearest_pixel_l2"]["members"]
    for found in (few, most):
        assert found["low"] < found["value"] < found["high"]
    assert most["high"] - most["low"] < 0.8 * (few["high"] - few["low"])


def test_images_of_another_size_are_compared_at_the_drawn_one_s() -> None:
    doubled = [replace(one, image=encode_png(_doubled(one))) for one in MEMBERS]
    found = fidelity(as_drawn(MEMBERS), doubled, NON_MEMBERS, EXTRACTOR, SPEC)
    assert found["nearest_pixel_l2"]["side"] == 32
    assert found["nearest_pixel_l2"]["members"]["value"] < 0.05 < found["nearest_pixel_l2"]["non_members"]["value"]


def _doubled(record: ImageRecord) -> Any:
    from s2l_core.images import decode

    return decode(record.image).repeat(2, axis=0).repeat(2, axis=1)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="needs two images of each kind; got 12 drawn images, 1 members and 20 non-members"):
        fidelity(FRESH, MEMBERS[:1], NON_MEMBERS, EXTRACTOR, SPEC)


def test_the_document_is_json_without_an_image_or_a_hash_of_one() -> None:
    text = json.dumps(measured(FRESH), allow_nan=False)
    assert not any(one.content in text or one.image_id in text for one in DATA)
    assert len(text) < 8000


# --- identities ---


@pytest.fixture(scope="module")
def judge() -> Judge:
    return judge_of({name: records(name, seed=101, members=1, non_members=40)[1:] for name in PEOPLE}, EXTRACTOR)


def test_the_judge_knows_people_from_images_it_has_not_seen(judge: Judge) -> None:
    assert judge.accuracy > 0.95
    assert judge.images == 120
    for name in judge.names:
        fresh = EXTRACTOR(records(name, seed=5, members=10, non_members=1))
        assert judge.assign(fresh).count(name) >= 10


def test_a_judge_of_noise_is_right_by_chance_alone() -> None:
    noise = np.random.default_rng(0).normal(size=(300, 20))
    names = [f"p{number % 3}" for number in range(300)]
    judge = Judge.fit(noise, names)
    assert 0.23 < judge.accuracy < 0.44
    seen = np.mean([one == other for one, other in zip(judge.assign(noise), names, strict=True)])
    assert seen > judge.accuracy + 0.05, "accuracy must be that on images that the judge was not fitted on"


def test_the_share_counts_the_drawn_images_that_show_the_right_person(judge: Judge) -> None:
    other = next(name for name in judge.names if name != "zorvik")
    mixed = as_drawn([*records("zorvik", seed=9, members=9, non_members=1)[:9], *records(other, seed=9, members=3, non_members=1)[:3]])
    found = measured(mixed, judge=judge, name="zorvik")["identity"]
    assert found["share"] == 0.75
    assert found["low"] == pytest.approx(0.4281, abs=1e-4), "Clopper and Pearson's for 9 of 12"
    assert found["high"] == pytest.approx(0.9451, abs=1e-4)
    assert found["chance"] == pytest.approx(1 / 3)
    assert found["judge"] == {"identities": 3, "images": 120, "accuracy": judge.accuracy}


def test_a_judge_does_not_depend_on_the_order_of_its_images_and_takes_as_many_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    from s2l_core.fidelity import identity

    monkeypatch.setattr(identity, "IMAGES_EACH", 10)
    sets = {name: records(name, seed=101, members=1, non_members=15)[1:] for name in PEOPLE[:2]}
    one = judge_of(sets, EXTRACTOR)
    two = judge_of({name: sets[name][::-1] for name in reversed(sets)}, EXTRACTOR)
    assert one.images == two.images == 20
    fresh = EXTRACTOR(FRESH)
    assert np.array_equal(one._classifier.decision_function(fresh), two._classifier.decision_function(fresh))


def test_a_judge_needs_two_people_with_two_images_and_must_know_who_is_asked_for(judge: Judge) -> None:
    with pytest.raises(ValueError, match="needs two of them, with two images each; got 1, the least with 3"):
        Judge.fit(np.zeros((3, 2)), ["a"] * 3)
    with pytest.raises(ValueError, match="got 2, the least with 1"):
        Judge.fit(np.zeros((3, 2)), ["a", "a", "b"])
    with pytest.raises(ValueError, match="the judge does not know 'nobody'; it knows 3 identities"):
        measured(FRESH, judge=judge, name="nobody")


# --- before and after ---


def test_a_change_is_measured_image_by_image(judge: Judge) -> None:
    other = next(name for name in judge.names if name != "zorvik")
    before = measured(as_drawn(MEMBERS), judge=judge, name="zorvik")
    spoilt = as_drawn(records(other, seed=9, members=12, non_members=1)[:12])
    after = measured(spoilt[:8], judge=judge, name="zorvik")
    found = change(before, after, SPEC)
    assert found["pairs"] == 8, "images that one of the sets lacks are left out of both"
    assert found["right_identity"] == {"before": 1.0, "after": 0.0, "delta": -1.0, "low": -1.0, "high": -1.0}
    nearest = found["nearest_member_pixel_l2"]
    assert nearest["delta"] == pytest.approx(nearest["after"] - nearest["before"])
    assert 0 < nearest["low"] < nearest["delta"] < nearest["high"]
    assert "frechet" not in found, "eight images against twelve: the distances' biases differ"
    assert "prompt_similarity" not in found


def test_distances_of_one_size_are_subtracted(judge: Judge) -> None:
    before, after = measured(as_drawn(MEMBERS)), measured(as_drawn(records("mellune", seed=9, members=12, non_members=1)[:12]))
    assert before["frechet"]["size"] == after["frechet"]["size"]
    found = change(before, after, SPEC)
    assert found["frechet"]["members"] == after["frechet"]["members"]["value"] - before["frechet"]["members"]["value"]


def test_similarity_to_other_prompts_is_no_change() -> None:
    before = measured(FRESH)
    before["images"]["prompt_similarity"] = [0.5] * len(FRESH)
    after = json.loads(json.dumps(before))
    assert change(before, after, SPEC)["prompt_similarity"]["delta"] == 0
    after["images"]["prompt_sha256"][0] = "another"
    assert "prompt_similarity" not in change(before, after, SPEC)


def test_nothing_changed_is_a_change_of_nothing() -> None:
    document = measured(FRESH)
    found = change(document, document, SPEC)
    assert found["nearest_member_pixel_l2"]["delta"] == found["nearest_member_pixel_l2"]["low"] == found["frechet"]["members"] == 0
    assert "right_identity" not in found


def test_sets_that_cannot_be_paired_are_refused() -> None:
    renamed = [replace(one, image_id=f"sp-1-{one.image_id}") for one in FRESH]
    with pytest.raises(ValueError, match="no image in common; both must be drawn with one seed"):
        change(measured(FRESH), measured(renamed), SPEC)
    with pytest.raises(ValueError, match="both must be in one kind of features"):
        change(measured(FRESH), measured(FRESH, SPEC.model_copy(update={"features": HogFeatures()})), SPEC)
