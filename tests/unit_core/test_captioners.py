"""Captioners: the union under one contract, the rule of colours on images whose answer is known, and BLIP against plain greedy search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from s2l_core.captioners import Captioner, load
from s2l_core.captioners.table import read_captions, write_captions
from s2l_core.captions import prompts_for
from s2l_core.families import blip_folder
from s2l_core.images import ImageRecord, encode_png
from s2l_core.specs.captioners import BlipCaptioner, CaptionerSpec, ColoursCaptioner
from s2l_core.specs.captions import AutomaticCaption
from tests.blip_models import WORDS, save_blip

torch.set_num_threads(1)
KINDS = {cls.model_fields["kind"].default: cls for cls in get_args(get_args(CaptionerSpec)[0])}


def record(pixels: Any, name: str = "a", text: str = "photo of Ann", member: bool | None = None) -> ImageRecord:
    return ImageRecord(name, encode_png(np.asarray(pixels, dtype=np.uint8)), text, "Ann", member)


def noise(count: int, side: int = 20) -> list[ImageRecord]:
    """Random images, each of three random colours."""
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (count, 3, 3))
    return [record(one[random.integers(0, 3, (side, side))], f"{number}") for number, one in enumerate(colours)]


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blip")
    save_blip(folder)
    return folder


@pytest.fixture(params=sorted(KINDS))
def captioner(request: pytest.FixtureRequest, blip: Path) -> Captioner:
    return load(KINDS[request.param](), folder=blip if request.param == "blip" else None)


# --- every kind ---


def test_an_image_s_caption_does_not_depend_on_those_beside_it(captioner: Captioner) -> None:
    images = noise(19)
    together = captioner(images)
    assert len(set(together)) > 5, "a test that cannot tell one caption from another tells nothing"
    assert together == [captioner([image])[0] for image in images]
    assert together[::-1] == captioner(images[::-1])
    assert together == captioner(images[:7]) + captioner(images[7:])


def test_a_caption_is_of_the_pixels_and_knows_nothing_that_is_told_of_the_image(captioner: Captioner) -> None:
    (image,) = noise(1)
    told = ImageRecord("other", image.image, "a secret", "Bob", True)
    as_jpeg_would_be = record(np.asarray(Image.open(_file(image))), "copy", "another")
    assert captioner([image]) == captioner([told]) == captioner([as_jpeg_would_be])


def test_no_images_have_no_captions_and_a_broken_one_is_named(captioner: Captioner) -> None:
    assert captioner([]) == []
    with pytest.raises(ValueError, match="image broken: no image in a known format"):
        captioner([*noise(1), ImageRecord("broken", b"no image", "", "Ann", None)])


def test_captions_come_back_from_their_file_with_who_wrote_them(tmp_path: Path) -> None:
    images = noise(3)
    for name in ("one", "two"):
        write_captions(tmp_path / name, ColoursCaptioner(most=2), images, ["red", "", "blue"])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    found = read_captions(tmp_path / "one")
    assert found.texts == {"0": "red", "1": "", "2": "blue"}
    assert ColoursCaptioner(**found.captioner) == ColoursCaptioner(most=2)
    with pytest.raises(ValueError, match="expected length 3 but got length 1"):
        write_captions(tmp_path / "short", ColoursCaptioner(), images, ["red"])


def test_automatic_captions_are_taken_by_image_whatever_the_order_and_a_missing_one_is_named() -> None:
    images = noise(3)
    texts = {"2": "c", "0": "a", "1": "b"}
    assert prompts_for(images, AutomaticCaption(), "", texts) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="1 of 3 images have no automatic caption, first 1; the captions are of other images") as caught:
        prompts_for(images, AutomaticCaption(), "", {"0": "private words", "2": "more of them"})
    assert "private" not in str(caught.value)
    with pytest.raises(ValueError, match="are read from a captioner's file, and none is given"):
        prompts_for(images, AutomaticCaption(), "")


def _file(record: ImageRecord) -> Any:
    import io

    return io.BytesIO(record.image)


# --- colours ---

PAINTS = {
    "red": (220, 20, 30),
    "orange": (255, 150, 30),
    "yellow": (240, 230, 40),
    "green": (30, 160, 60),
    "blue": (30, 60, 220),
    "purple": (130, 30, 190),
    "pink": (250, 100, 190),
    "brown": (120, 70, 30),
    "black": (10, 10, 10),
    "grey": (128, 128, 128),
    "white": (250, 250, 250),
}


def painted(*parts: tuple[str, int], width: int = 10) -> ImageRecord:
    """Rows of paint: each colour with its number of rows."""
    return record(np.concatenate([np.full((rows, width, 3), PAINTS[name]) for name, rows in parts]))


@pytest.mark.parametrize("name", PAINTS)
def test_a_flat_image_is_called_by_its_colour(name: str) -> None:
    (text,) = load(ColoursCaptioner())([painted((name, 4))])
    assert text.removeprefix("dark ").removeprefix("bright ") == f"photo in {name}"


def test_colours_are_named_from_the_largest_part_down_and_small_ones_are_not() -> None:
    image = painted(("grey", 50), ("red", 26), ("green", 15), ("blue", 9))
    assert load(ColoursCaptioner())([image]) == ["photo in grey, red and green"]
    assert load(ColoursCaptioner(most=1))([image]) == ["photo in grey"]
    assert load(ColoursCaptioner(share=0.2))([image]) == ["photo in grey and red"]
    assert load(ColoursCaptioner(most=9, share=0))([image]) == ["photo in grey, red, green and blue"]
    assert load(ColoursCaptioner(share=1.0))([image]) == ["photo in grey"], "the largest is named in any case"


def test_equal_parts_are_named_in_one_order_wherever_they_are() -> None:
    one, other = painted(("blue", 5), ("red", 5)), painted(("red", 5), ("blue", 5))
    assert load(ColoursCaptioner())([one]) == load(ColoursCaptioner())([other]) == ["dark photo in red and blue"]


def test_brightness_is_told_beyond_two_thresholds() -> None:
    greys = [record(np.full((4, 4, 3), level)) for level in (84, 85, 169, 170)]
    assert load(ColoursCaptioner())(greys) == ["dark photo in grey", "photo in grey", "photo in grey", "bright photo in grey"]


def test_a_large_image_is_called_like_the_same_one_in_small() -> None:
    parts = (("grey", 5), ("red", 3), ("green", 2))
    large = painted(*((name, 100 * rows) for name, rows in parts), width=700)
    assert load(ColoursCaptioner())([large]) == load(ColoursCaptioner())([painted(*parts)])


def test_thresholds_that_cross_are_refused() -> None:
    with pytest.raises(ValueError, match="dark and bright at once; got dark=200, bright=170"):
        ColoursCaptioner(dark=200)


# --- BLIP ---


def test_greedy_captions_are_the_likeliest_words_one_after_the_other(blip: Path) -> None:
    """Written plainly, word by word, without transformers' search."""
    from transformers import BlipForConditionalGeneration, BlipImageProcessorPil

    images = noise(6)
    network = BlipForConditionalGeneration.from_pretrained(blip, dtype=torch.float64).eval()
    expected = []
    for image in images:
        pixels = BlipImageProcessorPil.from_pretrained(blip)([Image.open(_file(image))], return_tensors="pt").pixel_values.double()
        tokens = [WORDS.index(word) for word in ("[DEC]", "a", "picture", "of")]
        with torch.no_grad():
            seen = network.vision_model(pixels).last_hidden_state
            while len(tokens) < 12:
                logits = network.text_decoder(input_ids=torch.tensor([tokens]), encoder_hidden_states=seen).logits[0, -1]
                if len(tokens) < 5:
                    logits[WORDS.index("[SEP]")] = -torch.inf
                tokens.append(int(logits.argmax()))
                if tokens[-1] == WORDS.index("[SEP]"):
                    break
        expected.append(
            " ".join(WORDS[token] for token in tokens[4:] if WORDS[token] not in ("[SEP]", "[UNK]", "[PAD]", "[CLS]", "[MASK]"))
        )
    assert load(BlipCaptioner(beams=1, max_tokens=12), folder=blip)(images) == expected


def test_knobs_of_a_blip_are_heard(blip: Path) -> None:
    images = noise(8)
    plain = load(BlipCaptioner(), folder=blip)(images)
    others = [BlipCaptioner(beams=1), BlipCaptioner(prompt=""), BlipCaptioner(prompt="photo of the"), BlipCaptioner(max_tokens=6)]
    for spec in others:
        assert load(spec, folder=blip)(images) != plain, spec
    assert all(len(text.split()) <= 2 for text in load(BlipCaptioner(max_tokens=6), folder=blip)(images)), "four are the prompt's"


def test_what_the_folder_says_of_sampling_changes_nothing(blip: Path, tmp_path: Path) -> None:
    save_blip(tmp_path)
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_sample": True, "temperature": 9.0, "num_beams": 7, "max_length": 9}))
    assert load(BlipCaptioner(), folder=tmp_path)(noise(5)) == load(BlipCaptioner(), folder=blip)(noise(5))


def test_a_prompt_that_leaves_no_word_is_refused(blip: Path) -> None:
    with pytest.raises(
        ValueError, match="max_tokens counts the 4 tokens of the prompt too, and this captioner has 32 places; got 4; give 5 to"
    ):
        load(BlipCaptioner(max_tokens=4, min_tokens=1), folder=blip)
    with pytest.raises(ValueError, match="got 40; give 5 to 32"):
        load(BlipCaptioner(max_tokens=40), folder=blip)
    with pytest.raises(ValueError, match="min_tokens must be at most max_tokens; got min_tokens=9, max_tokens=8"):
        BlipCaptioner(min_tokens=9, max_tokens=8)


def test_a_blip_without_a_folder_or_with_a_weight_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs the folder of a BLIP, and none is given"):
        load(BlipCaptioner())
    save_blip(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("text_decoder.bert.encoder.layer.0.output.dense.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"do not fit its config.json: 1 missing or of another shape, first text_decoder"):
        load(BlipCaptioner(), folder=tmp_path)


def test_a_blip_s_folder_is_its_weights_its_words_and_how_it_scales_images(blip: Path) -> None:
    names = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json")
    assert blip_folder.inspect(blip).names == names


def test_the_words_may_be_a_plain_list_and_the_scaling_may_stand_with_the_processor(blip: Path, tmp_path: Path) -> None:
    save_blip(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    scaling = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": scaling, "processor_class": "BlipProcessor"}))
    assert {"vocab.txt", "processor_config.json"} <= set(blip_folder.inspect(tmp_path).names)
    assert load(BlipCaptioner(), folder=tmp_path)(noise(4)) == load(BlipCaptioner(), folder=blip)(noise(4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "clip"}, r"holds a model of type 'clip'; allowed: blip \(BlipForConditionalGeneration\)"),
        (
            {"architectures": ["BlipForQuestionAnswering"]},
            r"holds a BLIP that does not caption \(BlipForQuestionAnswering\); allowed: blip",
        ),
        ("config.json", "has no config.json; a captioner is a folder in the transformers layout"),
        ("preprocessor_config.json", "lacks preprocessor_config.json, which says how images are scaled"),
        ("tokenizer.json", "lacks tokenizer.json and vocab.txt, which hold the words"),
        ("model.safetensors", "lacks its weights: no model.safetensors"),
    ],
)
def test_a_folder_that_is_no_blip_says_what_it_lacks(tmp_path: Path, change: str | dict[str, Any], message: str) -> None:
    save_blip(tmp_path)
    if isinstance(change, str):
        (tmp_path / change).unlink()
    else:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        blip_folder.inspect(tmp_path)


def test_pickled_weights_of_a_blip_are_refused_with_how_to_convert_them(tmp_path: Path) -> None:
    save_blip(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"pytorch_model.bin is a pickle.*allowed: safetensors; .*transformers.BlipForConditionalGeneration"
    ):
        blip_folder.inspect(tmp_path)
