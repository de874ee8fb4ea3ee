"""The blind baseline finds planted artefacts, and leaves a matched split alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.stages import blind as blind_stage
from jobs.stages.contract import StageJob
from jobs.stages.specs import BlindStage
from s2l_core import blind
from s2l_core.blind import blind_baseline, features
from s2l_core.faces import records
from s2l_core.images import ImageRecord, decode, encode_png, write_images
from s2l_core.metrics.roc import rank_error

FACES = records("zorvik", seed=3, members=40, non_members=40)


@pytest.fixture(autouse=True)
def _few_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost most of the time; what they are good for has its own test."""
    monkeypatch.setattr(blind, "PERMUTATIONS", 9)


Change = Callable[[ImageRecord], ImageRecord]


def brighter(record: ImageRecord) -> ImageRecord:
    pixels = decode(record.image).astype(np.int64) + 30
    return replace(record, image=encode_png(pixels.clip(0, 255).astype(np.uint8)))


def as_jpeg(record: ImageRecord) -> ImageRecord:
    buffer = io.BytesIO()
    Image.fromarray(decode(record.image)).save(buffer, format="JPEG", quality=95)
    return replace(record, image=buffer.getvalue())


def captioned(record: ImageRecord) -> ImageRecord:
    return replace(record, text=f"{record.text} smiling")


def scattered_sizes(record: ImageRecord) -> ImageRecord:
    side = 32 + (sum(record.image) % 7) - 3
    return replace(record, image=encode_png(np.asarray(Image.fromarray(decode(record.image)).resize((side, side)))))


def changed(members: Change | None = None, non_members: Change | None = None) -> list[ImageRecord]:
    sides = {True: members, False: non_members}
    return [change(record) if (change := sides[bool(record.member)]) else record for record in FACES]


@pytest.mark.parametrize(
    ("members", "non_members", "feature"),
    [
        (brighter, None, "light at|mean of|share of"),
        (None, as_jpeg, "JPEG|PNG|file bytes|8-pixel|file's header"),
        (captioned, None, "caption"),
        (None, scattered_sizes, "size|width|height|bytes"),
    ],
    ids=["brightness", "format", "caption", "size"],
)
def test_a_planted_difference_is_found_and_named(members: Change | None, non_members: Change | None, feature: str) -> None:
    import re

    found = blind_baseline(changed(members, non_members))
    assert found["separates"]
    assert found["auc_low"] > 0.5
    assert found["p_value"] == 0.1  # one of ten: no permutation came near
    assert re.search(feature, found["features"][0]["name"])


def test_a_difference_that_speaks_for_members_has_a_positive_weight() -> None:
    weights = {each["name"]: each["weight"] for each in blind_baseline(changed(captioned))["features"]}
    assert weights["caption says 'smiling'"] > 0
    weights = {each["name"]: each["weight"] for each in blind_baseline(changed(None, captioned))["features"]}
    assert weights["caption says 'smiling'"] < 0


def test_a_matched_split_is_flagged_no_more_often_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "PERMUTATIONS", 120)
    values, groups, random = blind._standardised(features(FACES)[1]), blind._groups(FACES), np.random.default_rng(0)
    permuted = blind._permuted(values, np.arange(80) < 40, groups, 5, random)
    assert permuted.std() > 1.1 * rank_error(np.arange(40.0), np.arange(40.0))  # why the interval is widened
    lows = [blind._interval(blind._out_of_fold(values, random.permutation(80) < 40, groups, 5, random), permuted)[0] for _ in range(100)]
    assert sum(low > 0.5 for low in lows) <= 7  # one in forty is meant; eight or more of a hundred come up with a probability of 0.4 %


def test_the_drawn_faces_are_a_matched_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "PERMUTATIONS", 49)
    found = blind_baseline(records("mellune", seed=0, members=64, non_members=128))
    assert not found["separates"]
    assert found["p_value"] > 0.05
    assert (found["n_member"], found["n_non_member"]) == (64, 128)


def test_labels_are_permuted_for_all_copies_of_an_image_together() -> None:
    groups, random = np.repeat(np.arange(20), 4), np.random.default_rng(0)
    drawn = [blind._relabelled(np.arange(80) < 40, groups, random) for _ in range(20)]
    assert all(labels.sum() == 40 and set(labels.reshape(20, 4).sum(axis=1)) == {0, 4} for labels in drawn)
    assert len({labels.tobytes() for labels in drawn}) == 20


def test_equal_data_gives_equal_documents_that_are_json() -> None:
    first, again = (blind_baseline(FACES, seed=2) for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(again)
    assert set(first) == {"auc", "auc_low", "auc_high", "p_value", "separates", "features", "n_member", "n_non_member"}


def test_copies_of_an_image_stay_in_one_fold_whatever_their_encoding() -> None:
    twins = [*FACES[:10], *map(as_jpeg, FACES[:10])]
    groups = blind._groups(twins)
    assert groups[:10].tolist() == groups[10:].tolist()
    assert len(set(groups.tolist())) == 10
    assert len(set(blind._groups(FACES).tolist())) == len(FACES)
    for seed in range(5):
        fold = blind._deal(np.arange(20) % 2 == 0, groups, 5, np.random.default_rng(seed))
        assert (fold[:10] == fold[10:]).all()


def test_every_fold_holds_its_share_of_members() -> None:
    member = np.arange(60) < 20
    fold = blind._deal(member, np.arange(60), 5, np.random.default_rng(0))
    assert [int((member & (fold == number)).sum()) for number in range(5)] == [4] * 5
    assert [int((fold == number).sum()) for number in range(5)] == [12] * 5


def test_features_do_not_look_at_labels() -> None:
    turned = [replace(record, member=not record.member) for record in FACES]
    names, values = features(FACES)
    assert names == features(turned)[0]
    np.testing.assert_array_equal(values, features(turned)[1])
    assert np.isfinite(values).all()


def test_tiny_pictures_and_single_pixels_have_features() -> None:
    dots = [replace(FACES[0], image=encode_png(np.full((1, 1 + index, 3), 9 * index, dtype=np.uint8))) for index in range(4)]
    assert np.isfinite(features(dots)[1]).all()


def test_too_few_images_and_broken_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="two members and two non-members; got 1 and 40"):
        blind_baseline(FACES[39:])
    broken = replace(FACES[0], image=FACES[0].image[:100])
    with pytest.raises(ValueError, match=FACES[0].image_id):
        blind_baseline([broken, *FACES[1:]])


def test_the_stage_leaves_blind_json(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    out.mkdir()
    write_images(data / "images.parquet", FACES)
    nothing = lambda *_: None  # noqa: E731
    job = StageJob(BlindStage(folds=4, seed=1), "key", (("data", "parent", data),), out, nothing, nothing, "cpu", nothing)  # type: ignore[arg-type]
    blind_stage.run(job)
    assert json.loads((out / "blind.json").read_text()) == blind_baseline(FACES, folds=4, seed=1)
    assert [path.name for path in out.iterdir()] == ["blind.json"]
