"""The extract stage: which images it takes from which parent, before and after, and that it leaves no image and no hash of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from jobs.errors import InputError
from jobs.stages import extract as stage
from jobs.stages.contract import StageJob
from jobs.stages.specs import ExtractStage
from s2l_core.extraction.table import Matches, read_matches
from s2l_core.faces import records
from s2l_core.images import ImageRecord, write_images
from s2l_core.metrics.distinct import Counted, change_interval, images_interval, labels_test, sign_test
from s2l_core.specs.extraction import AlignmentSpec, ExtractionSpec
from s2l_core.specs.fidelity import ClipFeatures, FeatureSpec, PixelFeatures
from tests.clip_models import save_clip

torch.set_num_threads(1)
SPEC = ExtractionSpec(
    candidates=8,
    features=PixelFeatures(side=8),
    keep=3,
    alignment=AlignmentSpec(shift=0, flip=False),
    threshold=0.01,
    retrieved=3,
    permutations=99,
)
DATA = records("zorvik", seed=0, members=8, non_members=12)
MEMBERS, NON_MEMBERS = DATA[:8], DATA[8:]


class NoProgress:
    def load(self, into: Path) -> bool:
        return False

    def save(self, folder: Path) -> None: ...


class NoCache:
    def get(self, key: str, make: Callable[[], Any]) -> Any:
        return make()


def drawn(copies: dict[int, ImageRecord]) -> list[ImageRecord]:
    """Eight other drawings, copies of images in place of some."""
    images = [copies.get(number, one) for number, one in enumerate(records("mellune", seed=9, members=8, non_members=1)[:8])]
    return [
        ImageRecord(f"sp-2000003-{number:06d}", one.image, "photo of zorvik", "zorvik", None, {"index": number})
        for number, one in enumerate(images)
    ]


class Setting:
    """Folders of parents, and jobs over them."""

    def __init__(self, root: Path) -> None:
        self.root, self.parents, self.said = root, {}, []  # type: ignore[var-annotated]

    def images(self, role: str, content: Sequence[ImageRecord], name: str = "") -> Path:
        folder = self.root / (name or role)
        folder.mkdir()
        write_images(folder / "images.parquet", content)
        self.parents[role] = folder
        return folder

    def run(self, spec: ExtractionSpec = SPEC, out: str = "out", micro_batch: int | None = None) -> tuple[dict[str, Any], Matches]:
        (self.root / out).mkdir()
        stage.run(
            StageJob(
                spec=ExtractStage(extraction=spec),
                key="key",
                parents=tuple((role, f"{role}-key", folder) for role, folder in self.parents.items()),
                out=self.root / out,
                progress=NoProgress(),
                cache=NoCache(),
                device="cpu",
                say=lambda fraction, words: self.said.append(fraction),
                micro_batch=micro_batch,
            )
        )
        assert sorted(path.name for path in (self.root / out).iterdir()) == ["extraction.json", "matches.parquet"]
        document: dict[str, Any] = json.loads((self.root / out / "extraction.json").read_text())
        return document, read_matches(self.root / out / "matches.parquet")


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    made = Setting(tmp_path)
    made.images("data", DATA)
    return made


def test_it_matches_the_drawn_set_with_the_members_and_non_members_of_the_data(setting: Setting) -> None:
    setting.images("drawn", drawn({2: MEMBERS[4], 5: MEMBERS[4], 6: MEMBERS[1]}))
    document, matches = setting.run()
    assert (document["n_candidates"], document["n_member"], document["n_non_member"], document["compared"]) == (8, 8, 12, 8)
    members = document["rules"]["l2"]["members"]
    assert (members.pop("low"), members.pop("high")) == images_interval(2, 1, 1, out_of=8)[1:]
    assert members == {"images": 2, "touched": 2, "candidates": 3, "most": 2, "shown_once": 1, "shown_twice": 1, "found_at": [3, 7]}
    assert document["rules"]["l2"]["non_members"]["images"] == 0
    assert matches.members_shown("l2") == {MEMBERS[4].image_id, MEMBERS[1].image_id}
    assert document["n_rejected"] is None
    assert "change" not in document
    assert setting.said == sorted(setting.said)


def test_rejected_candidates_are_told_and_count_in_the_budget(setting: Setting) -> None:
    folder = setting.images("drawn", drawn({6: MEMBERS[1]})[4:])
    (folder / "rejected.json").write_text(json.dumps({"asked": 8, "kept": 4, "rejected": [{"index": number} for number in range(4)]}))
    document, _ = setting.run()
    assert document["n_rejected"] == 4
    assert document["rules"]["l2"]["members"]["found_at"] == [7]


def test_after_a_shake_the_change_since_before_is_told(setting: Setting) -> None:
    setting.images("drawn", drawn({0: MEMBERS[0]}), "unshaken-drawn")
    setting.run(out="unshaken")
    setting.images("drawn", drawn({0: MEMBERS[1], 3: MEMBERS[2]}))
    setting.parents["before"] = setting.root / "unshaken"
    document, _ = setting.run()
    change = document["change"]["l2"]
    low, high = change_interval(images_interval(1, 1, 0, out_of=8), images_interval(2, 2, 0, out_of=8))[1:]
    counted = {"before": 1, "after": 2, "delta": 1, "low": low, "high": high}
    assert change["members"] == counted | {"new": 2, "lost": 1, "p_value": sign_test(2, 1)}
    assert change["members_compared"] == counted
    false = Counted(0.0, *change_interval(*[images_interval(0, 0, 0, out_of=8)] * 2)[1:])
    beyond = change_interval(false, Counted(1.0, low, high))
    assert change["beyond"] == {"before": 1, "after": 2, "delta": 1, "low": beyond.low, "high": beyond.high}
    assert document["rules"]["l2"]["beyond"] == {"value": 2, "p_value": labels_test(2, 0, out_of=8)}
    assert (change["non_members"]["delta"], change["non_members"]["new"], change["non_members"]["p_value"]) == (0, 0, 1.0)


@pytest.mark.parametrize("features", [cls() for cls in get_args(get_args(FeatureSpec)[0])], ids=lambda spec: spec.kind)
def test_every_kind_of_features_gives_a_document(features: Any, setting: Setting) -> None:
    setting.images("drawn", drawn({2: MEMBERS[4]}))
    if isinstance(features, ClipFeatures):
        save_clip(setting.root / "clip", "CLIPVisionModel")
        setting.parents["features"] = setting.root / "clip"
    document, matches = setting.run(SPEC.model_copy(update={"features": features}))
    assert document["spec"]["features"]["kind"] == features.kind
    assert document["rules"]["tile_max"]["members"]["images"] == 1
    assert matches.cosine == [pytest.approx(1, abs=1e-5)]


def test_nothing_that_is_left_is_an_image_or_a_hash_of_one(setting: Setting) -> None:
    setting.images("drawn", drawn(dict(enumerate([*MEMBERS[:4], *NON_MEMBERS[:4]]))))
    setting.run()
    for path in (setting.root / "out").iterdir():
        content = path.read_bytes()
        for one in DATA:
            assert one.image not in content
            assert one.content.encode() not in content
    assert not any(one.image_id.encode() in (setting.root / "out" / "extraction.json").read_bytes() for one in DATA)


def test_data_without_members_or_non_members_is_an_input_error(setting: Setting) -> None:
    setting.images("drawn", drawn({}))
    setting.images("data", [replace(one, member=None) for one in NON_MEMBERS] + MEMBERS, "unknown")
    with pytest.raises(InputError, match="got 8 members and 0 non-members; say `member: true` or `false` for every image"):
        setting.run()


def test_the_same_parents_give_the_same_bytes_also_after_an_out_of_memory(setting: Setting) -> None:
    setting.images("drawn", drawn({2: MEMBERS[4], 3: NON_MEMBERS[0]}))
    spec = SPEC.model_copy(update={"alignment": AlignmentSpec(), "threshold": 0.15})
    setting.run(spec)
    setting.run(spec, out="again", micro_batch=1)
    for name in ("extraction.json", "matches.parquet"):
        assert (setting.root / "out" / name).read_bytes() == (setting.root / "again" / name).read_bytes()


def test_a_set_of_which_the_safety_checker_left_nothing_says_so_and_what_to_do(setting: Setting) -> None:
    folder = setting.images("drawn", [])
    (folder / "rejected.json").write_text(json.dumps({"asked": 8, "kept": 0, "rejected": [{"index": number} for number in range(8)]}))
    told = "the safety checker rejected 8 of 8 drawn images: none is left, and extraction needs 1 or more"
    with pytest.raises(InputError, match=rf"{told}; take other prompts \(sp_prompts\), or set safety_checker: false where you may look"):
        setting.run()
