"""The fidelity stage: which images it takes from which parent, whom it judges, before and after, and that it leaves no image."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from jobs.errors import InputError
from jobs.stages import fidelity as stage
from jobs.stages.contract import StageJob
from jobs.stages.specs import FidelityStage
from s2l_core.faces import records
from s2l_core.images import ImageRecord, write_images
from s2l_core.specs.fidelity import ClipFeatures, FeatureSpec, FidelitySpec, HogFeatures, PixelFeatures
from tests.clip_models import save_clip

torch.set_num_threads(1)
SPEC = FidelitySpec(features=PixelFeatures(side=8), bootstrap=100, permutations=99, draws=2)
PEOPLE = ("zorvik", "mellune", "brundlo")
DATA = records("zorvik", seed=0, members=8, non_members=12)


class NoProgress:
    def load(self, into: Path) -> bool:
        return False

    def save(self, folder: Path) -> None: ...


class Cache:
    def __init__(self) -> None:
        self.made: dict[str, Any] = {}

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]


def drawn(name: str = "zorvik", count: int = 8) -> list[ImageRecord]:
    images = records(name, seed=9, members=count, non_members=1)[:count]
    return [replace(image, image_id=f"sp-0-{number:06d}", member=None) for number, image in enumerate(images)]


class Setting:
    """Folders of parents, and jobs over them."""

    def __init__(self, root: Path) -> None:
        self.root, self.parents, self.cache = root, [], Cache()  # type: ignore[var-annotated]

    def images(self, role: str, content: Sequence[ImageRecord], key: str = "") -> Path:
        folder = self.root / (key or role)
        folder.mkdir()
        write_images(folder / "images.parquet", content)
        return self.add(role, folder, key)

    def add(self, role: str, folder: Path, key: str = "") -> Path:
        self.parents.append((role, key or f"{role}-key", folder))
        return folder

    def run(self, spec: FidelitySpec = SPEC, out: str = "out") -> dict[str, Any]:
        (self.root / out).mkdir()
        stage.run(
            StageJob(
                spec=FidelityStage(fidelity=spec),
                key="key",
                parents=tuple(self.parents),
                out=self.root / out,
                progress=NoProgress(),
                cache=self.cache,
                device="cpu",
                say=lambda fraction, words: None,
            )
        )
        assert [path.name for path in (self.root / out).iterdir()] == ["fidelity.json"]
        document: dict[str, Any] = json.loads((self.root / out / "fidelity.json").read_text())
        return document


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_it_measures_the_drawn_set_beside_the_members_and_non_members_of_the_data(setting: Setting) -> None:
    setting.images("drawn", drawn())
    setting.images("data", DATA)
    found = setting.run()
    assert (found["n_drawn"], found["n_member"], found["n_non_member"]) == (8, 8, 12)
    assert found["identity"] is None
    assert found["n_rejected"] is None
    assert "change" not in found


def test_the_judge_has_seen_the_others_non_members_alone(setting: Setting) -> None:
    setting.images("drawn", [*drawn(count=6), *[replace(one, image_id=f"x{one.image_id}") for one in drawn("mellune", 2)]])
    setting.images("data", DATA)
    for name in PEOPLE:
        mislabelled = [replace(one, domain=name) for one in records("brundlo", seed=3, members=9, non_members=1)[:9]]
        setting.images("others", [*mislabelled, *records(name, seed=101, members=1, non_members=30)[1:]], name)
    found = setting.run()["identity"]
    assert found["judge"]["images"] == 90
    assert found["judge"]["accuracy"] > 0.9
    assert found["share"] == 0.75


def test_the_judge_is_kept_for_the_next_trial_of_the_worker_and_does_not_depend_on_the_parents_order(setting: Setting) -> None:
    setting.images("drawn", drawn())
    setting.images("data", DATA)
    for name in PEOPLE:
        setting.images("others", records(name, seed=101, members=1, non_members=10)[1:], name)
    first = setting.run()
    setting.parents[2:] = setting.parents[:1:-1]
    assert setting.run(out="again") == first
    assert len(setting.cache.made) == 1


def test_a_domain_with_too_few_images_to_learn_is_left_out_of_the_judge(setting: Setting) -> None:
    setting.images("drawn", drawn())
    setting.images("data", DATA)
    for name, count in zip(PEOPLE, (10, 10, 1), strict=True):
        setting.images("others", records(name, seed=101, members=5, non_members=count), name)
    assert setting.run()["identity"]["judge"]["identities"] == 2
    del setting.parents[3], setting.cache.made[next(iter(setting.cache.made))]
    assert setting.run(out="alone")["identity"] is None


def test_rejected_images_are_told_beside_the_others(setting: Setting) -> None:
    folder = setting.images("drawn", drawn())
    (folder / "rejected.json").write_text(json.dumps({"asked": 10, "kept": 8, "rejected": [{"index": 3}, {"index": 5}]}))
    setting.images("data", DATA)
    assert setting.run()["n_rejected"] == 2


def test_after_a_shake_the_change_since_before_is_told(setting: Setting) -> None:
    setting.images("drawn", drawn())
    setting.images("data", DATA)
    before = setting.run(out="unshaken")
    setting.parents[0] = ("drawn", "k", setting.root / "shaken")
    (setting.root / "shaken").mkdir()
    write_images(setting.root / "shaken" / "images.parquet", drawn("mellune"))
    setting.add("before", setting.root / "unshaken")
    after = setting.run(out="after")
    nearest = after["change"]["nearest_member_pixel_l2"]
    assert nearest["before"] == pytest.approx(sum(before["images"]["nearest_member_pixel_l2"]) / 8)
    assert nearest["after"] == pytest.approx(sum(after["images"]["nearest_member_pixel_l2"]) / 8)


@pytest.mark.parametrize("features", [cls() for cls in get_args(get_args(FeatureSpec)[0])], ids=lambda spec: spec.kind)
def test_every_kind_of_features_gives_a_document(features: Any, setting: Setting) -> None:
    setting.images("drawn", drawn())
    setting.images("data", DATA)
    if isinstance(features, ClipFeatures):
        save_clip(setting.root / "clip", "CLIPVisionModel")
        setting.add("features", setting.root / "clip")
    found = setting.run(SPEC.model_copy(update={"features": features}))
    assert found["features"]["kind"] == features.kind
    assert found["frechet"]["members"]["value"] > 0
    assert found["dimensions"] > 10


def test_data_without_members_or_non_members_is_an_input_error(setting: Setting) -> None:
    setting.images("drawn", drawn())
    setting.images("data", [*DATA[:8], DATA[9]])
    with pytest.raises(InputError, match="two of each; got 8 members and 1 non-members; say `member: true` or `false`"):
        setting.run()


def test_the_same_parents_give_the_same_bytes(setting: Setting) -> None:
    setting.images("drawn", drawn())
    setting.images("data", DATA)
    spec = SPEC.model_copy(update={"features": HogFeatures()})
    setting.run(spec)
    setting.run(spec, out="again")
    assert (setting.root / "out" / "fidelity.json").read_bytes() == (setting.root / "again" / "fidelity.json").read_bytes()


@pytest.mark.parametrize(("kept", "left"), [(0, "none is"), (1, "1 is")])
def test_a_set_of_which_the_safety_checker_left_too_little_says_so_and_what_to_do(setting: Setting, kept: int, left: str) -> None:
    folder = setting.images("drawn", drawn(count=8)[:kept])
    rejected = [{"index": number} for number in range(kept, 8)]
    (folder / "rejected.json").write_text(json.dumps({"asked": 8, "kept": kept, "rejected": rejected}))
    setting.images("data", DATA)
    told = f"the safety checker rejected {8 - kept} of 8 drawn images: {left} left, and fidelity needs 2 or more"
    with pytest.raises(InputError, match=rf"{told}; take other prompts \(sp_prompts\), or set safety_checker: false"):
        setting.run()


def test_two_sets_of_which_the_safety_checker_left_no_image_in_common_say_so(setting: Setting) -> None:
    setting.images("data", DATA)
    images = drawn()
    for name, kept in (("unshaken", images[:4]), ("shaken", images[4:])):
        folder = setting.images("drawn", kept, name)
        (folder / "rejected.json").write_text(json.dumps({"asked": 8, "kept": 4, "rejected": [{"index": 0}] * 4}))
        if name == "unshaken":
            setting.run(out="before")
            setting.parents.pop()
    setting.add("before", setting.root / "before")
    with pytest.raises(InputError, match="rejected 4 of 8 and 4 of 8 drawn images: no image is left before and after; take other prompts"):
        setting.run()
