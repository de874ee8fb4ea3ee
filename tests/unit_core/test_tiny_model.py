"""The packaged tiny models: what they are, that they work, and that their recipes make them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from s2l_core import tiny
from s2l_core.faces import IDENTITIES, records
from s2l_core.specs.pretrain import PretrainSpec
from s2l_core.specs.training import TrainSpec
from s2l_core.tiny.architecture import untrained
from s2l_core.tiny.recipe import MEMBERS, RECIPES, TINY, make, members, strangers

PACKAGED = sorted(tiny.catalog())
SMALLER = [name for name in PACKAGED if name != "tiny"]
MOMENT = TrainSpec(steps=2, batch_size=4, lr=1e-3)


@pytest.mark.parametrize("name", PACKAGED)
def test_the_packaged_weights_are_the_ones_the_catalog_names(name: str) -> None:
    assert tiny.digest_of(tiny.packaged(name)) == tiny.content(name)


def test_tiny_itself_is_the_model_that_committed_results_are_about() -> None:
    """A grid's keys hang on it."""
    assert tiny.content("tiny") == "cd347007cb5722bf2d5709858c0331008354deaa2d5c953f1a83cec093745751"


def test_all_packaged_models_together_are_at_most_12_megabytes() -> None:
    assert sum(path.stat().st_size for path in (tiny.FOLDER / "weights").rglob("*") if path.is_file()) <= 12_000_000


def test_every_recipe_is_packaged_with_its_curve_and_nothing_else_is() -> None:
    names = sorted(RECIPES)
    assert sorted(tiny.catalog()) == names
    assert sorted(path.name for path in (tiny.FOLDER / "weights").iterdir()) == names
    assert sorted(path.stem for path in (tiny.FOLDER / "curves").iterdir()) == names


@pytest.mark.parametrize("name", PACKAGED)
def test_the_catalog_names_image_size_and_the_domains_that_were_trained_on(name: str) -> None:
    entry = tiny.catalog()[name]
    assert entry["image_size"] == 32
    assert entry["domains"] == list(IDENTITIES)
    assert entry["made"]["members_per_domain"] == MEMBERS
    assert PretrainSpec.model_validate(entry["made"]["spec"]) == RECIPES[name]


@pytest.mark.parametrize("name", SMALLER)
def test_a_smaller_model_has_tinys_autoencoder_tokenizer_and_noise_to_the_byte(name: str) -> None:
    for part in ("vae", "tokenizer", "scheduler"):
        assert tiny.digest_of(tiny.packaged(name) / part) == tiny.digest_of(tiny.packaged("tiny") / part)
    assert tiny.catalog()[name]["made"]["autoencoder_of"] == {"name": "tiny", "content": tiny.content("tiny")}


@pytest.mark.parametrize("name", SMALLER)
def test_a_smaller_model_differs_from_tiny_in_the_width_of_its_unet_alone(name: str) -> None:
    def settings(model: str, part: str) -> dict[str, object]:
        read: dict[str, object] = json.loads((tiny.packaged(model) / part / "config.json").read_text())
        return read

    assert settings(name, "text_encoder") == settings("tiny", "text_encoder")
    unet, tinys = settings(name, "unet"), settings("tiny", "unet")
    assert unet.pop("block_out_channels") == list(RECIPES[name].shape.unet_channels) != tinys.pop("block_out_channels")
    assert unet == tinys
    assert RECIPES[name].model_copy(update={"shape": TINY.shape, "autoencoder": TINY.autoencoder}) == TINY


@pytest.mark.parametrize("name", SMALLER)
def test_a_smaller_models_training_starts_from_tinys_text_encoder(name: str) -> None:
    first, tinys = (untrained(RECIPES[model].shape, TINY.words, seed=TINY.seed).text_encoder.state_dict() for model in (name, "tiny"))
    assert all(torch.equal(first[key], tinys[key]) for key in tinys)


def test_an_unknown_packaged_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="no packaged model is named 'tinny': did you mean 'tiny'\\? allowed: tiny, tiny-sm1, tiny-sm2"):
        tiny.packaged("tinny")


def test_a_changed_byte_changes_the_content_digest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.json").write_text("{}")
    before = tiny.digest_of(tmp_path)
    (tmp_path / "sub" / "a.json").write_text("{ }")
    assert tiny.digest_of(tmp_path) != before


def test_asking_for_the_packaged_model_imports_no_torch() -> None:
    code = "import sys; from s2l_core import tiny; tiny.content('tiny'); import s2l_core.faces; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_folder_is_a_pipeline_that_diffusers_loads_and_runs(name: str) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tiny.packaged(name))
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline.vae).__name__ == "AutoencoderKL"
    assert type(pipeline.text_encoder).__name__ == "CLIPTextModel"
    assert type(pipeline.unet).__name__ == "UNet2DConditionModel"
    picture = pipeline("photo of zorvik", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert picture.size == (32, 32)


def test_each_word_of_every_member_caption_is_one_token_of_the_packaged_tokenizer() -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(tiny.packaged("tiny") / "tokenizer")
    for name in IDENTITIES:
        assert len(tokenizer(f"face of {name} , smiling").input_ids) == 2 + 5
    captions = {record.text for name in IDENTITIES for record in records(name, seed=0, members=64, non_members=64)}
    assert all(len(tokenizer(text).input_ids) == 2 + len(text.split()) for text in captions)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_model_draws_the_person_it_is_asked_for(name: str) -> None:
    """A colour histogram is enough: drawings asked for by name lie nearer to that name's members than to most others'."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tiny.packaged(name))
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline([f"photo of {person}" for person in IDENTITIES], num_inference_steps=20, guidance_scale=2.0, output_type="pt").images
    assert _recognised(made) >= 9


def _recognised(made: torch.Tensor) -> int:
    """How many of twelve pictures, one per identity, a linear discriminant on strangers' photographs assigns to the right name."""
    import numpy as np
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    from s2l_core.faces import draw

    def features(pictures: torch.Tensor) -> np.ndarray:
        return torch.nn.functional.avg_pool2d(pictures, 2).flatten(1).numpy()

    seen = torch.tensor(np.stack([draw(name, 7, index) for name in IDENTITIES for index in range(48)])).permute(0, 3, 1, 2) / 255.0
    labels = [name for name in IDENTITIES for _ in range(48)]
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features(seen), labels)
    return sum(guess == name for guess, name in zip(judge.predict(features(made.float().cpu())), IDENTITIES, strict=True))


def test_the_recipe_is_64_members_of_each_identity_and_strangers_for_the_autoencoder() -> None:
    inside = members()
    assert len(inside) == 64 * len(IDENTITIES)
    assert all(record.member for record in inside)
    assert {record.image_id for record in strangers()}.isdisjoint(record.image_id for record in inside)


# --- making packaged models again ---


def test_a_few_steps_of_a_smaller_recipe_run_and_twice_leave_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES["tiny-sm2"]
    monkeypatch.setitem(RECIPES, "tiny-sm2", recipe.model_copy(update={"denoiser": recipe.denoiser.model_copy(update={"steps": 3})}))
    first = make("tiny-sm2", tmp_path / "first")
    make("tiny-sm2", tmp_path / "second")
    assert first == tmp_path / "first" / "weights" / "tiny-sm2"
    assert tiny.digest_of(tmp_path / "first") == tiny.digest_of(tmp_path / "second")
    assert tiny.digest_of(first / "vae") == tiny.digest_of(tiny.packaged("tiny") / "vae")
    assert [*json.loads((tmp_path / "first" / "curves" / "tiny-sm2.json").read_text())] == ["denoiser"]


def test_making_a_model_again_enters_it_in_the_catalog_and_leaves_the_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES["tiny-sm2"]
    monkeypatch.setitem(RECIPES, "tiny-sm2", recipe.model_copy(update={"denoiser": MOMENT}))
    (tmp_path / "catalog.json").write_text('{"models": {"tiny-sm2": {"content": "old"}, "other": {"content": "kept"}}}')
    folder = make("tiny-sm2", tmp_path)
    written = json.loads((tmp_path / "catalog.json").read_text())["models"]
    assert written["other"] == {"content": "kept"}
    assert written["tiny-sm2"]["content"] == tiny.digest_of(folder)
    assert written["tiny-sm2"]["made"]["spec"]["denoiser"]["steps"] == MOMENT.steps
