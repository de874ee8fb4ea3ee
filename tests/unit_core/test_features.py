"""Feature extractors: what each sees and what it does not, the union under one contract, and CLIP as transformers computes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from s2l_core.features import Extractor, load
from s2l_core.features.pixels import averaged
from s2l_core.images import ImageRecord, encode_png
from s2l_core.specs.fidelity import ClipFeatures, FeatureSpec, HogFeatures, PixelFeatures
from tests.clip_models import processor, save_clip

torch.set_num_threads(1)
KINDS = {cls.model_fields["kind"].default: cls for cls in get_args(get_args(FeatureSpec)[0])}


def record(pixels: Any, name: str = "a", text: str = "photo of Ann") -> ImageRecord:
    return ImageRecord(name, encode_png(np.asarray(pixels, dtype=np.uint8)), text, "Ann", None)


def noise(count: int, side: int = 32, seed: int = 0) -> list[ImageRecord]:
    drawn = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return [record(one, f"{number}") for number, one in enumerate(drawn)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for kind in ("CLIPVisionModel", "CLIPVisionModelWithProjection", "CLIPModel"):
        save_clip(folder / kind, kind)
    return folder


@pytest.fixture(params=sorted(KINDS))
def extractor(request: pytest.FixtureRequest, clips: Path) -> Extractor:
    return load(KINDS[request.param](), folder=clips / "CLIPVisionModel" if request.param == "clip" else None)


# --- every kind ---


def test_an_image_s_features_do_not_depend_on_those_beside_it(extractor: Extractor) -> None:
    images = noise(19)
    together = extractor(images)
    assert together.shape[0] == 19
    assert together.dtype == np.float64
    assert np.allclose(together, np.concatenate([extractor([image]) for image in images]), rtol=0, atol=1e-5)
    assert np.allclose(together[::-1], extractor(images[::-1]), rtol=0, atol=1e-5)


def test_equal_images_have_equal_features_and_others_do_not(extractor: Extractor) -> None:
    first, second = noise(2)
    same, other = extractor([first, record(np.asarray(Image.open(_file(first))), "copy")]), extractor([first, second])
    assert np.array_equal(same[0], same[1])
    assert np.linalg.norm(other[0] - other[1]) > 0.1


def test_a_broken_image_is_named(extractor: Extractor) -> None:
    with pytest.raises(ValueError, match="image broken: no image in a known format"):
        extractor([*noise(1), ImageRecord("broken", b"no image", "", "Ann", None)])


def _file(record: ImageRecord) -> Any:
    import io

    return io.BytesIO(record.image)


# --- pixels ---


def test_pixels_are_means_of_equal_fields_whatever_the_size() -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[:2, 2:] = 255
    assert np.array_equal(averaged(image, 2)[..., 0], [[-1, 1], [-1, -1]])
    random = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    expected = random.reshape(3, 4, 3, 4, 3).mean(axis=(1, 3)) / 127.5 - 1
    assert np.allclose(averaged(random, 3), expected, atol=1e-12)
    assert np.allclose(averaged(random, 5).mean(axis=(0, 1)), averaged(random, 1)[0, 0], atol=1e-12)
    assert np.allclose(averaged(random, 24), np.kron(random, np.ones((2, 2, 1))) / 127.5 - 1, atol=1e-12)


def test_of_a_wide_image_the_centre_square_is_seen() -> None:
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 255
    assert np.allclose(averaged(wide, 4), 1)


# --- histograms of oriented gradients ---


def stripes(angle: float, side: int = 32, period: float = 8.0) -> Any:
    """A wave whose gradient points into the direction `angle`, in degrees."""
    y, x = np.mgrid[:side, :side]
    wave = np.sin(2 * np.pi * (x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))) / period)
    return np.repeat((wave[..., None] + 1) * 100 + 20, 3, axis=2)


@pytest.mark.parametrize("direction", [0, 40, 80, 120, 160])
def test_a_wave_s_energy_is_in_the_bin_of_its_direction(direction: int) -> None:
    found = load(HogFeatures())([record(stripes(direction))])[0].reshape(3, 3, 4, 9)
    assert np.argmax(found[1, 1].sum(axis=0)) == direction // 20


def test_hog_sees_neither_brightness_nor_contrast_nor_colour_and_a_flat_image_is_nothing() -> None:
    extractor = load(HogFeatures())
    plain, dim, tinted = stripes(40), stripes(40) * 0.5 + 30, stripes(40) * [1, 0.5, 0.25]
    found = extractor([record(np.round(image)) for image in (plain, dim, tinted, np.full((32, 32, 3), 90))])
    assert np.abs(found[0] - found[1]).max() < 0.02
    assert np.abs(found[0] - found[2]).max() < 0.02
    assert np.abs(found[3]).max() < 1e-9
    assert np.linalg.norm(found[0]) > 1


def test_a_flipped_sign_of_the_gradient_is_the_same_direction() -> None:
    found = load(HogFeatures())([record(stripes(40)), record(stripes(220))])
    assert np.abs(found[0] - found[1]).max() < 0.05


def test_cells_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="side must hold at least two whole cells; got side=32, cell=12"):
        HogFeatures(cell=12)
    with pytest.raises(ValueError, match="got side=8, cell=8"):
        HogFeatures(side=8)


# --- CLIP ---


@pytest.mark.parametrize("kind", ["CLIPVisionModel", "CLIPVisionModelWithProjection", "CLIPModel"])
def test_clip_features_are_what_transformers_computes(kind: str, clips: Path) -> None:
    images = noise(3, side=40)
    pixels = processor()([Image.open(_file(image)) for image in images], return_tensors="pt").pixel_values
    network = save_clip(clips / "again" / kind, kind)
    with torch.no_grad():
        if kind == "CLIPModel":
            expected = network.visual_projection(network.vision_model(pixels).pooler_output)
        else:
            out = network(pixels)
            expected = out.image_embeds if kind == "CLIPVisionModelWithProjection" else out.pooler_output
    found = load(ClipFeatures(), folder=clips / kind)(images)
    assert found.shape == (3, 32 if kind == "CLIPVisionModel" else 12)
    assert np.allclose(found, expected.double().numpy(), rtol=0, atol=1e-5)


def test_only_a_clip_with_a_text_encoder_says_whether_an_image_shows_its_prompt(clips: Path) -> None:
    images = [record(np.asarray(Image.open(_file(image))), image.image_id, text) for image, text in zip(noise(3), "aab", strict=True)]
    assert load(ClipFeatures(), folder=clips / "CLIPVisionModelWithProjection").prompt_similarity(images) is None
    assert load(PixelFeatures()).prompt_similarity(images) is None
    found = load(ClipFeatures(), folder=clips / "CLIPModel").prompt_similarity(images)
    network = save_clip(clips / "again" / "text", "CLIPModel")
    from tests.sd_models import clip_tokenizer

    tokens = clip_tokenizer()([image.text for image in images], padding=True, return_tensors="pt")
    pixels = processor()([Image.open(_file(image)) for image in images], return_tensors="pt").pixel_values
    with torch.no_grad():
        logits = network(**tokens, pixel_values=pixels).logits_per_image.diagonal() / network.logit_scale.exp()
    assert found is not None
    assert np.allclose(found, logits.double().numpy(), atol=1e-5)


def test_clip_folders_that_cannot_be_used_say_why(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="CLIP features need the folder of a CLIP model, and none is given"):
        load(ClipFeatures())
    with pytest.raises(ValueError, match=r"has no config.json; a CLIP is a folder in the transformers layout"):
        load(ClipFeatures(), folder=tmp_path)
    save_clip(tmp_path, "CLIPVisionModel")
    weights = tmp_path / "model.safetensors"
    whole = load_file(weights)
    save_file({name: value for name, value in whole.items() if "class_embedding" not in name}, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"do not fit its config.json: 1 missing or of another shape"):
        load(ClipFeatures(), folder=tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"lacks preprocessor_config.json, which says how images are cut and scaled"):
        load(ClipFeatures(), folder=tmp_path)
    weights.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model.bin is a pickle"):
        load(ClipFeatures(), folder=tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    with pytest.raises(ValueError, match="holds a model of type 'resnet'; allowed: clip or clip_vision_model"):
        load(ClipFeatures(), folder=tmp_path)
