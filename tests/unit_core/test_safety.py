"""The safety checker: diffusers' own decision, rejected images left out and told, and no checker is an error before anything is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from s2l_core.families import checker_folder, sd_folder
from s2l_core.families.sd import StableDiffusion
from s2l_core.images import decode
from s2l_core.safety import SafetyChecker
from s2l_core.specs.synthesis import PromptTemplate, SynthesisSpec
from s2l_core.synthesize import synthesize
from tests.clip_models import add_checker, closest
from tests.sd_models import sd_model

torch.set_num_threads(1)
SPEC = SynthesisSpec(images=8, prompts=(PromptTemplate(text="photo of {name}"),), name="Ann", steps=2, guidance=1.0)


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    return sd_model()


@pytest.fixture
def folder(model: StableDiffusion, tmp_path: Path) -> Path:
    model.save(tmp_path / "model")
    return tmp_path / "model"


def pictures(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def test_it_rejects_exactly_the_images_that_are_near_a_concept(folder: Path) -> None:
    cosines = closest(add_checker(folder), pictures(12))
    threshold = float(cosines.sort().values[5:7].mean())
    add_checker(folder, threshold=threshold)
    rejected = SafetyChecker.load(folder).rejects(pictures(12))
    assert rejected == (cosines > threshold).tolist()
    assert sum(rejected) == 6


def test_it_decides_as_diffusers_pipeline_decides_on_the_same_images(model: StableDiffusion, folder: Path) -> None:
    drawn = list(synthesize(model, SPEC))
    network = add_checker(folder)
    cosines = closest(network, [decode(record.image) for record in drawn])
    add_checker(folder, threshold=float(cosines.median()))
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pixels = torch.stack([torch.from_numpy(decode(record.image).copy()).permute(2, 0, 1).float() / 127.5 - 1 for record in drawn])
    _, theirs = pipeline.run_safety_checker(pixels.clone(), torch.device("cpu"), torch.float32)
    ours = SafetyChecker.load(folder).rejects(np.stack([decode(record.image) for record in drawn]))
    assert ours == theirs
    assert 0 < sum(ours) < len(ours)


def test_a_rejected_image_is_left_out_and_told_and_the_others_are_the_same(model: StableDiffusion, folder: Path) -> None:
    everything = list(synthesize(model, SPEC))
    network = add_checker(folder)
    cosines = closest(network, [decode(record.image) for record in everything])
    add_checker(folder, threshold=float(cosines.median()))
    told: list[int] = []
    spec = SPEC.model_copy(update={"safety_checker": True})
    kept = list(synthesize(model, spec, batch_size=3, checker=SafetyChecker.load(folder), on_rejected=told.append))
    assert 0 < len(told) < 8
    assert [record.provenance["index"] for record in kept] == [index for index in range(8) if index not in told]
    by_id = {record.image_id: decode(record.image).astype(int) for record in everything}
    assert all(np.abs(decode(record.image) - by_id[record.image_id]).max() <= 1 for record in kept)
    assert all(record.provenance["safety_checker"] == "passed" for record in kept)
    assert all("safety_checker" not in record.provenance for record in everything)


def test_a_checker_that_is_asked_for_and_not_given_is_an_error_before_anything_is_drawn(model: StableDiffusion, folder: Path) -> None:
    add_checker(folder)
    with pytest.raises(ValueError, match="safety_checker is True and none is given"):
        next(synthesize(model, SPEC.model_copy(update={"safety_checker": True})))
    with pytest.raises(ValueError, match="safety_checker is False and a checker is given"):
        next(synthesize(model, SPEC, checker=SafetyChecker.load(folder)))


def test_a_model_without_a_checker_says_so(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"has no safety checker; choose a model that has one, or leave the safety checker off"):
        SafetyChecker.load(folder)


def test_a_published_checker_s_names_of_weights_load_whole(folder: Path) -> None:
    """The files on the hub nest the vision model once more and hold position ids."""
    add_checker(folder, threshold=0.1)
    rejected = SafetyChecker.load(folder).rejects(pictures(6))
    path = folder / "safety_checker" / "model.safetensors"
    old = {name.replace("vision_model.", "vision_model.vision_model.", 1): value for name, value in load_file(path).items()}
    old["vision_model.vision_model.embeddings.position_ids"] = torch.arange(10)[None]
    save_file(old, path, metadata={"format": "pt"})
    assert SafetyChecker.load(folder).rejects(pictures(6)) == rejected


def test_a_checker_with_a_missing_weight_or_of_another_kind_is_refused(folder: Path) -> None:
    add_checker(folder)
    path = folder / "safety_checker" / "model.safetensors"
    whole = load_file(path)
    save_file({name: value for name, value in whole.items() if name != "concept_embeds"}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"do not fit its config.json: 1 missing or of another shape, first concept_embeds"):
        SafetyChecker.load(folder)
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(ValueError, match=r"safety_checker/model.bin is a pickle"):
        SafetyChecker.load(folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["elsewhere", "Remote"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"safety_checker is elsewhere.Remote; allowed: stable_diffusion.StableDiffusionSafetyChecker"):
        SafetyChecker.load(folder)


def test_the_checker_is_no_part_of_the_model_s_own_files(folder: Path) -> None:
    before = sd_folder.inspect(folder).names
    add_checker(folder)
    assert sd_folder.inspect(folder).names == before
    assert set(checker_folder.inspect(folder).names) - set(before) == {
        "safety_checker/config.json",
        "safety_checker/model.safetensors",
        "feature_extractor/preprocessor_config.json",
    }
