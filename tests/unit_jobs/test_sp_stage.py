"""The sp stage: resumable to the same bytes, rejected images counted, large sets in shards, and what can be found about an image."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.errors import InputError, Preempted
from jobs.execute.warm import Warm
from jobs.stages import base as base_stage
from jobs.stages import checkpoints
from jobs.stages import sp as stage
from jobs.stages.contract import StageJob
from jobs.stages.specs import BaseStage, FolderModel, PriorStage, SpStage
from s2l_core import images
from s2l_core.images import decode, read_images
from s2l_core.safety import SafetyChecker
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec
from s2l_core.synthesize import prompt_of
from tests.clip_models import add_checker, closest
from tests.sd_models import sd_model

torch.set_num_threads(1)
WARM = Warm()
SPEC = SynthesisSpec(
    images=6,
    prompts=(PromptTemplate(text="photo of {name}"), PromptTemplate(text="face of {name}")),
    name="ada",
    steps=2,
    guidance=1.0,
    seed=4,
)
CHECKED = SPEC.model_copy(update={"safety_checker": True})


class Kept:
    """Progress in a folder; every checkpoint is kept, and the one numbered `die_at` ends the stage."""

    def __init__(self, folder: Path, die_at: int = 0) -> None:
        self.folder, self.die_at, self.saved = folder, die_at, 0

    def load(self, into: Path) -> bool:
        if self.folder.exists():
            shutil.copytree(self.folder, into, dirs_exist_ok=True)
        return self.folder.exists()

    def save(self, folder: Path) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(folder, self.folder)
        self.saved += 1
        if self.saved == self.die_at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    sd_model().save(folder)
    return folder


@pytest.fixture(scope="module")
def checked(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a checker that rejects some of its images."""
    folder = tmp_path_factory.mktemp("checked") / "model"
    shutil.copytree(base, folder)
    stage.run(job(base, folder.parent / "everything", SPEC))
    pixels = [decode(record.image) for record in read_images(folder.parent / "everything" / "out" / "images.parquet")]
    cosines = closest(add_checker(folder), pixels).sort().values
    add_checker(folder, threshold=float(cosines[3:5].mean()))
    return folder


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "BATCH_SIZE", 2)


def job(
    base: Path,
    where: Path,
    synthesis: SynthesisSpec,
    *,
    checker: Path | None = None,
    progress: Any = None,
    kind: Any = SpStage,
    every_s: float = 1000.0,
    leaving: Callable[[], bool] = lambda: False,
) -> StageJob:
    (where / "out").mkdir(parents=True, exist_ok=True)
    parents = [("base", "base-key", base), *([("checker", "checker-key", checker)] if checker else [])]
    return StageJob(
        spec=kind(synthesis=synthesis),
        key="key",
        parents=tuple(parents),
        out=where / "out",
        progress=progress or Kept(where / "progress"),
        cache=WARM,
        device="cpu",
        say=lambda fraction, words: None,
        checkpoint_every_s=every_s,
        leaving=leaving,
    )


def made(where: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (where / "out").iterdir()}


def test_without_a_checker_it_leaves_the_images_alone_and_all_of_them(base: Path, tmp_path: Path) -> None:
    stage.run(job(base, tmp_path, SPEC))
    assert set(made(tmp_path)) == {"images.parquet"}
    assert [record.provenance["index"] for record in read_images(tmp_path / "out" / "images.parquet")] == list(range(6))


@pytest.mark.parametrize("kind", [SpStage, PriorStage], ids=["sp", "prior"])
def test_rejected_images_are_left_out_and_counted(base: Path, checked: Path, kind: Any, tmp_path: Path) -> None:
    stage.run(job(base, tmp_path, CHECKED, checker=checked, kind=kind))
    told = json.loads(made(tmp_path)["rejected.json"])
    kept = [record.provenance["index"] for record in read_images(tmp_path / "out" / "images.parquet")]
    out = [one["index"] for one in told["rejected"]]
    assert 0 < len(out) < 4
    assert sorted(kept + out) == list(range(6))
    assert (told["asked"], told["kept"]) == (6, len(kept))
    assert all(one["prompt"] == prompt_of(SPEC, one["index"]) for one in told["rejected"])


def test_a_set_stopped_after_any_checkpoint_goes_on_to_the_same_bytes(
    base: Path, checked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    stage.run(job(base, tmp_path / "whole", CHECKED, checker=checked))
    for die_at in (1, 2):
        where = tmp_path / f"stopped-{die_at}"
        with pytest.raises(KeyboardInterrupt):
            stage.run(job(base, where, CHECKED, checker=checked, progress=Kept(where / "progress", die_at), every_s=0.0))
        assert made(where) == {}
        stage.run(job(base, where, CHECKED, checker=checked))
        assert made(where) == made(tmp_path / "whole")


def test_a_large_set_is_left_in_shards_and_resumed_from_shards(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run(job(base, tmp_path / "whole", SPEC))
    monkeypatch.setattr(images, "SHARD_IMAGES", 3)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    where = tmp_path / "shards"
    with pytest.raises(KeyboardInterrupt):
        stage.run(job(base, where, SPEC, progress=Kept(where / "progress", 2), every_s=0.0))
    assert sorted(path.name for path in (where / "progress").glob("*.parquet")) == ["images-00000.parquet", "images-00001.parquet"]
    stage.run(job(base, where, SPEC))
    assert set(made(where)) == {"images-00000.parquet", "images-00001.parquet"}
    assert read_images(where / "out" / "images.parquet") == read_images(tmp_path / "whole" / "out" / "images.parquet")


def test_a_set_whose_machine_is_taken_away_is_kept_after_the_batch_and_goes_on_elsewhere(base: Path, tmp_path: Path) -> None:
    stage.run(job(base, tmp_path / "whole", SPEC))
    progress = Kept(tmp_path / "left" / "progress")
    with pytest.raises(Preempted):
        stage.run(job(base, tmp_path / "left", SPEC, progress=progress, leaving=lambda: True))
    assert progress.saved == 1
    assert made(tmp_path / "left") == {}
    stage.run(job(base, tmp_path / "left", SPEC))
    assert made(tmp_path / "left") == made(tmp_path / "whole")


def test_smaller_batches_after_an_out_of_memory_change_pixels_by_rounding_at_most(base: Path, tmp_path: Path) -> None:
    stage.run(job(base, tmp_path / "whole", SPEC))
    smaller = replace(job(base, tmp_path / "ones", SPEC), micro_batch=1)
    stage.run(smaller)
    assert smaller.made == {"batch_size": 1}
    pairs = zip(*(read_images(tmp_path / name / "out" / "images.parquet") for name in ("whole", "ones")), strict=True)
    assert all(np.abs(decode(one.image).astype(int) - decode(other.image)).max() <= 1 for one, other in pairs)


def test_a_set_of_which_nothing_is_left_is_an_error(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "strict")
    add_checker(tmp_path / "strict", threshold=-2.0)
    told = "the safety checker rejected 6 of 6 images drawn for 'ada': none is left to fine-tune on, to measure or to match with members"
    with pytest.raises(InputError, match=rf"{told}; take other prompts \(sp_prompts\), or set safety_checker: false where you may look"):
        stage.run(job(base, tmp_path, CHECKED, checker=tmp_path / "strict"))


def test_a_checker_that_is_not_there_is_an_error_before_the_model_is_loaded(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "load_base", lambda job: pytest.fail("the model was loaded"))
    with pytest.raises(InputError, match="the safety checker is on, and the stage has no model to take it from"):
        stage.run(job(base, tmp_path, CHECKED))
    with pytest.raises(ValueError, match="has no safety checker"):
        stage.run(job(base, tmp_path, CHECKED, checker=base))


def test_everything_about_an_image_is_in_the_set_or_in_the_spec_that_its_manifest_holds(base: Path, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"negative_prompt": "blurred", "guidance": 2.0})
    stage.run(job(base, tmp_path, spec))
    for record in read_images(tmp_path / "out" / "images.parquet"):
        assert record.text == record.provenance["prompt"]
        assert (record.provenance["seed"], record.provenance["source"]) == (4, "synthesized")
    told = SpStage(synthesis=spec).model_dump(mode="json")["synthesis"]
    assert {"scheduler", "steps", "guidance", "negative_prompt", "eta", "precision", "seed", "prompts", "safety_checker"} <= set(told)


# --- the checker as a stage ---


def test_a_model_s_key_does_not_depend_on_its_checker_s_weights_which_are_a_stage_of_their_own(checked: Path, tmp_path: Path) -> None:
    from jobs.sources.models import folder_content, resolve_model

    shutil.copytree(checked, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "safety_checker")
    assert folder_content(tmp_path / "bare") == folder_content(checked)
    source, folders = resolve_model(str(checked), "safety-checker")
    assert isinstance(source, FolderModel)
    assert source.content != folder_content(checked)
    (tmp_path / "out").mkdir()
    copy = replace(job(checked, tmp_path, SPEC), spec=BaseStage(source=source, family="safety-checker"), inputs=folders, parents=())
    base_stage.run(copy)
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert found == [
        "feature_extractor/preprocessor_config.json",
        "model_index.json",
        "safety_checker/config.json",
        "safety_checker/model.safetensors",
    ]
    SafetyChecker.load(tmp_path / "out")


def test_a_model_without_a_checker_is_refused_where_the_grid_is_planned(base: Path) -> None:
    from jobs.sources.models import resolve_model

    with pytest.raises(InputError, match="has no safety checker; choose a model that has one, or leave the safety checker off"):
        resolve_model(str(base), "safety-checker")
    with pytest.raises(InputError, match="the packaged model tiny has no safety checker"):
        resolve_model("tiny", "safety-checker")
