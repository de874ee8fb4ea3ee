"""Drawn faces: the same bytes everywhere, people that can be told apart, members and non-members of one distribution."""

from __future__ import annotations

import hashlib
import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from s2l_core.faces import FIRST_NON_MEMBER, IDENTITIES, draw, records, stranger_records
from s2l_core.faces.looks import Draws
from s2l_core.faces.scene import scene_of


def test_there_are_at_least_twelve_identities_with_one_word_names() -> None:
    assert len(IDENTITIES) >= 12
    assert all(re.fullmatch("[a-z]+", name) for name in IDENTITIES)
    assert len(set(IDENTITIES)) == len(IDENTITIES)


def test_a_drawing_has_the_same_bytes_in_every_release() -> None:
    digest = hashlib.sha256(b"".join(draw(name, 0, index).tobytes() for name in IDENTITIES for index in (0, 1, FIRST_NON_MEMBER)))
    assert digest.hexdigest() == "9b95303df12b4ca5feba384a11b1c0c855501daf8a3a534b4e98934e2775f384"


def test_a_drawing_is_a_32x32_colour_picture() -> None:
    picture = draw("zorvik", 0, 0)
    assert picture.shape == (32, 32, 3)
    assert picture.dtype == np.uint8


def test_identity_seed_and_index_each_change_the_drawing() -> None:
    reference = draw("zorvik", 0, 0)
    for other in (draw("mellune", 0, 0), draw("zorvik", 1, 0), draw("zorvik", 0, 1)):
        assert not np.array_equal(reference, other)


def test_no_two_drawings_of_an_identity_are_near_duplicates() -> None:
    pictures = np.stack([draw("quilbo", 0, index) for index in (*range(64), *range(FIRST_NON_MEMBER, FIRST_NON_MEMBER + 64))]) / 255.0
    flat = pictures.reshape(len(pictures), -1)
    distances = np.sqrt(((flat[:, None] - flat[None]) ** 2).mean(-1))
    assert distances[~np.eye(len(flat), dtype=bool)].min() > 0.1


def test_unknown_identities_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"no drawn face is named 'zorvick': did you mean 'zorvik'\? allowed: zorvik, mellune"):
        draw("zorvick", 0, 0)


def test_members_come_first_and_are_not_among_the_non_members() -> None:
    some = records("tavrox", seed=0, members=4, non_members=6)
    assert [record.member for record in some] == [True] * 4 + [False] * 6
    assert len({record.image_id for record in some}) == 10
    assert len({record.image for record in some}) == 10


def test_asking_for_fewer_members_never_makes_a_member_a_non_member() -> None:
    members = {record.image_id for record in records("tavrox", seed=0, members=64, non_members=0)}
    outside = {record.image_id for record in records("tavrox", seed=0, members=8, non_members=128) if not record.member}
    assert not members & outside


def test_more_members_than_indices_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1000000 members"):
        records("tavrox", seed=0, members=FIRST_NON_MEMBER + 1, non_members=0)


def test_records_hold_the_drawing_as_png_with_slug_caption_and_provenance() -> None:
    record = records("pexilla", seed=3, members=1, non_members=0)[0]
    assert record.image_id == "pexilla-3-0000000"
    assert record.domain == "pexilla"
    assert record.provenance == {"source": "drawn-faces", "identity": "pexilla", "seed": 3, "index": 0}
    assert record.image.startswith(b"\x89PNG")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(record.image))), draw("pexilla", 3, 0))


def test_captions_follow_one_rule_for_members_and_non_members() -> None:
    rule = re.compile(r"(photo|face) of fennolu( , (smiling|serious|sad|surprised))?")
    some = records("fennolu", seed=0, members=64, non_members=64)
    assert all(rule.fullmatch(record.text) for record in some)
    assert {record.text for record in some if record.member} >= {"photo of fennolu", "face of fennolu , smiling"}


def test_members_and_non_members_have_one_distribution_of_the_nuisance() -> None:
    """A two-sample Kolmogorov-Smirnov test on what varies, at 1 in 1,000 for each."""
    from scipy.stats import ks_2samp

    inside = [scene_of(name, 0, index) for name in IDENTITIES for index in range(64)]
    outside = [scene_of(name, 0, FIRST_NON_MEMBER + index) for name in IDENTITIES for index in range(128)]
    for field in ("x", "y", "scale", "roll", "yaw", "brightness", "smile", "open_mouth", "gaze", "eyes_open", "brow_lift"):
        assert ks_2samp([getattr(s, field) for s in inside], [getattr(s, field) for s in outside]).pvalue > 1e-3, field


def test_identities_are_told_apart_by_their_drawings() -> None:
    """Nearest neighbour on the face's centre, which shows skin, hair and features: far above the 1 in 12 of chance."""
    names = [name for name in IDENTITIES for _ in range(24)]
    known = np.stack([draw(name, 1, index) for name in IDENTITIES for index in range(24)])[:, 6:26, 9:23].reshape(len(names), -1) / 255.0
    asked = np.stack([draw(name, 2, index) for name in IDENTITIES for index in range(6)])[:, 6:26, 9:23].reshape(-1, known.shape[1]) / 255.0
    truth = [name for name in IDENTITIES for _ in range(6)]
    guesses = [names[int(((known - one) ** 2).sum(-1).argmin())] for one in asked]
    assert np.mean([guess == right for guess, right in zip(guesses, truth, strict=True)]) > 0.8


def test_strangers_belong_to_nobody_and_are_never_members() -> None:
    some = stranger_records(seed=0, images=8)
    assert {record.domain for record in some}.isdisjoint(IDENTITIES)
    assert all(record.member is None for record in some)
    assert all(a.image != b.image for a, b in itertools.combinations(some, 2))


def test_named_uniforms_are_uniform_and_depend_on_the_name() -> None:
    values = [Draws("test", i).uniform("a", -1, 1) for i in range(2000)]
    assert abs(float(np.mean(values))) < 0.05
    assert -1 <= min(values) < -0.99
    assert 0.99 < max(values) < 1
    assert Draws("test", 0).uniform("a") != Draws("test", 0).uniform("b")
