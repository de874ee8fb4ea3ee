"""`s2l pretrain` on one's own images: the recipe that file and options make, and what it refuses before anything is trained."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InputError
from jobs.sources.recipe import Recipe, read_recipe
from s2l_core import tiny
from s2l_core.specs.pretrain import PretrainSpec, SmallShape


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_without_file_and_options_it_is_the_standard_recipe() -> None:
    assert read_recipe() == Recipe(PretrainSpec())


def test_the_scale_of_the_unet_is_one_option() -> None:
    assert read_recipe(unet_channels="32,64,64").spec == PretrainSpec(shape=SmallShape(unet_channels=(32, 64, 64)))


def test_a_file_says_only_what_differs_and_options_win_over_it(tmp_path: Path) -> None:
    file = written(tmp_path, "shape: {unet_channels: [32, 32], text_width: 32}\ndenoiser: {steps: 500}\nseed: 3\n")
    standard = PretrainSpec()
    expected = PretrainSpec(
        shape=SmallShape(unet_channels=(48, 48), text_width=32), denoiser=standard.denoiser.model_copy(update={"steps": 500}), seed=4
    )
    assert read_recipe(file, unet_channels="48,48", seed=4).spec == expected
    assert read_recipe(file).spec.seed == 3


def test_with_another_models_autoencoder_none_is_trained_and_the_shape_is_that_autoencoders(tmp_path: Path) -> None:
    recipe = read_recipe(autoencoder_from="tiny", unet_channels="16,16")
    assert recipe.autoencoder_from == tiny.packaged("tiny")
    assert recipe.spec.autoencoder is None
    assert recipe.spec.shape == SmallShape(unet_channels=(16, 16))
    assert read_recipe(written(tmp_path, "autoencoder: null"), autoencoder_from="tiny").spec.autoencoder is None
    folder = stand_in(tmp_path / "sd", vae='{"block_out_channels": [128, 256, 512, 512], "latent_channels": 4}')
    shape = read_recipe(autoencoder_from=str(folder)).spec.shape
    assert (shape.vae_channels, shape.image_size) == ((128, 256, 512, 512), 64)
    smaller = written(tmp_path, "shape: {image_size: 32}")
    assert read_recipe(smaller, autoencoder_from=str(folder)).spec.shape.image_size == 32


def stand_in(folder: Path, *, vae: str) -> Path:
    """The packaged model's folder with another autoencoder's configuration: enough here, where no weights are read."""
    shutil.copytree(tiny.packaged("tiny"), folder)
    (folder / "vae" / "config.json").write_text(vae)
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unet_channels": "32;32"}, r'--unet-channels: got "32;32"; it must be whole numbers with commas.*such as 32,32'),
        ({"unet_channels": ""}, r'--unet-channels: got ""'),
        ({"unet_channels": "32,"}, r'--unet-channels: got "32,"'),
        ({"unet_channels": "20,32"}, r"unet_channels: channels must be multiples of norm_groups=8; got 20; the nearest: 16 or 24"),
        ({"unet_channels": "4"}, r"got 4; the nearest: 8"),
        ({"unet_channels": "0,32"}, r"recipe\.shape\.unet_channels\[0\]: got 0; it must be greater than 0"),
        ({"unet_channels": "32,32,32,32,32"}, r"image_size is halved 6 times, so it must be a multiple of 64; got 32"),
        (
            {"autoencoder_from": "tinny"},
            r'--autoencoder-from: there is no model folder tinny.*allowed: tiny, tiny-sm1, tiny-sm2, or a folder.*did you mean "tiny"',
        ),
        ({"autoencoder_from": "tiny", "autoencoder_steps": 5}, r"as it is: leave --autoencoder-steps out"),
    ],
)
def test_wrong_options_say_what_is_allowed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_recipe(**options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("denoser: {steps: 5}", r'recipe\.yaml: recipe: unknown key "denoser"; allowed: .*denoiser.*did you mean "denoiser"'),
        ("denoiser: {stpes: 5}", r'recipe\.yaml: recipe\.denoiser: unknown key "stpes"; allowed: steps, .*did you mean "steps"'),
        ("shape: {heads: 5}", r"recipe\.shape: unet_channels: channels must be multiples of heads=5; got 64; the nearest: 60 or 65"),
        ("shape: {text_width: 30}", r"text_width must be a multiple of heads=4; got 30"),
        ("shape: null", r"recipe\.shape: got null; it must be a mapping"),
        ("shape: wide", r'recipe\.shape: got "wide"; it must be a mapping'),
        ("- shape", r"recipe\.yaml: got \[\"shape\"\]; a recipe is a mapping with shape, words"),
        ("autoencoder: null", r"trains no autoencoder.*name the model it is taken from with --autoencoder-from"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_recipe(written(tmp_path, text))


def test_one_file_serves_the_model_that_trains_its_autoencoder_and_those_that_take_it(tmp_path: Path) -> None:
    file = written(tmp_path, "autoencoder: {steps: 10}\nshape: {text_width: 32}")
    trained, taken = read_recipe(file).spec, read_recipe(file, autoencoder_from="tiny").spec
    assert trained.autoencoder is not None
    assert trained.autoencoder.steps == 10
    assert taken == trained.model_copy(update={"autoencoder": None})


def test_a_file_that_wants_other_channels_than_the_taken_autoencoder_has_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "shape: {vae_channels: [16, 32]}")
    with pytest.raises(InputError, match=r"shape\.vae_channels: got \[16, 32\], and the autoencoder of .*tiny has \[16, 32, 64\]"):
        read_recipe(file, autoencoder_from="tiny")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the recipe .*nowhere\.yaml cannot be read"):
        read_recipe(tmp_path / "nowhere.yaml")


def test_reading_a_recipe_imports_no_torch() -> None:
    code = "import sys; from jobs.sources import recipe; recipe.read_recipe(autoencoder_from='tiny'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


def test_the_recipe_in_the_guide_can_be_read_and_its_table_names_every_setting(tmp_path: Path) -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "pretraining.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    assert read_recipe(written(tmp_path, text)).spec.shape.unet_channels == (32, 64)
    settings = {*(name for name in PretrainSpec.model_fields if name != "shape"), *(f"shape.{name}" for name in SmallShape.model_fields)}
    assert settings <= set(re.findall(r"`([a-z_.]+)`", guide))
