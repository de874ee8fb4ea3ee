"""The packaged tiny model, and making small models from nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from s2l_core import tiny
from s2l_core.faces import IDENTITIES, records
from s2l_core.pretrain import pretrain
from s2l_core.specs.pretrain import PretrainSpec, SmallShape
from s2l_core.specs.training import TrainSpec
from s2l_core.tiny.recipe import MEMBERS, TINY, members, strangers
from s2l_core.tiny.vocabulary import tokenizer_for, words_of

MOMENT = TrainSpec(steps=2, batch_size=4, lr=1e-3)
SMALL = PretrainSpec(
    shape=SmallShape(vae_channels=(8, 8), unet_channels=(8, 8), text_width=8, text_layers=1, heads=2, image_size=16),
    autoencoder=MOMENT,
    denoiser=MOMENT,
)


def test_the_packaged_weights_are_the_ones_the_catalog_names() -> None:
    assert tiny.digest_of(tiny.packaged("tiny")) == tiny.content("tiny")


def test_the_packaged_model_is_at_most_8_megabytes() -> None:
    assert sum(path.stat().st_size for path in tiny.packaged("tiny").rglob("*") if path.is_file()) <= 8_000_000


def test_the_catalog_names_image_size_and_the_domains_that_were_trained_on() -> None:
    entry = tiny.catalog()["tiny"]
    assert entry["image_size"] == 32
    assert entry["domains"] == list(IDENTITIES)
    assert entry["made"]["members_per_domain"] == MEMBERS
    assert PretrainSpec.model_validate(entry["made"]["spec"]) == TINY


def test_an_unknown_packaged_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="no packaged model is named 'tinny': did you mean 'tiny'\\? allowed: tiny"):
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


def test_the_packaged_folder_is_a_pipeline_that_diffusers_loads_and_runs() -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tiny.packaged("tiny"))
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


def test_the_packaged_model_draws_the_person_it_is_asked_for() -> None:
    """A colour histogram is enough: drawings asked for by name lie nearer to that name's members than to most others'."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tiny.packaged("tiny"))
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline([f"photo of {name}" for name in IDENTITIES], num_inference_steps=20, guidance_scale=2.0, output_type="pt").images
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


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "model"
    pretrain(records("zorvik", seed=0, members=8, non_members=0), folder, config=SMALL)
    return folder


def test_pretraining_twice_from_one_seed_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    pretrain(records("zorvik", seed=0, members=8, non_members=0), tmp_path / "again", config=SMALL)
    assert tiny.digest_of(tmp_path / "again") == tiny.digest_of(small)


def test_another_seed_gives_other_weights(small: Path, tmp_path: Path) -> None:
    pretrain(records("zorvik", seed=0, members=8, non_members=0), tmp_path / "other", config=SMALL.model_copy(update={"seed": 1}))
    assert tiny.digest_of(tmp_path / "other") != tiny.digest_of(small)


def test_pretraining_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    pretrain(records("zorvik", seed=0, members=4, non_members=0), tmp_path / "model", config=SMALL)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_pretrained_folder_knows_its_captions_words_and_its_latents_scale(small: Path) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(small / "tokenizer")
    assert len(tokenizer("photo of zorvik").input_ids) == 2 + 3
    assert tokenizer.model_max_length == SMALL.shape.tokens
    assert json.loads((small / "vae" / "config.json").read_text())["scaling_factor"] != 0.18215


def test_both_halves_learn(tmp_path: Path) -> None:
    longer = TrainSpec(steps=60, batch_size=8, lr=3e-3)
    config = SMALL.model_copy(update={"autoencoder": longer, "denoiser": longer})
    made = pretrain(records("zorvik", seed=0, members=16, non_members=0), tmp_path / "model", config=config)
    for curve in (made.autoencoder, made.denoiser):
        assert sum(curve.loss[-10:]) < 0.9 * sum(curve.loss[:10])


def test_pretraining_on_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to pre-train on: got 0 images"):
        pretrain([], tmp_path / "model", config=SMALL)


def test_words_that_share_letters_are_one_token_each_and_other_text_is_spelled() -> None:
    words = words_of(["graph of alpha , phone", "photo ph alph 7"])
    tokenizer = tokenizer_for(words, tokens=12)
    assert all(len(tokenizer(word).input_ids) == 3 for word in words)
    assert len(tokenizer("ünknown").input_ids) > 3
    assert tokenizer.decode(tokenizer("photo of alpha").input_ids, skip_special_tokens=True).strip() == "photo of alpha"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 30}, "image_size is halved 3 times, so it must be a multiple of 8; got 30"),
        ({"unet_channels": (12, 16)}, "channels must be multiples of norm_groups=8; got 12"),
        ({"text_width": 30}, "must be multiples of heads=4"),
    ],
)
def test_impossible_shapes_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmallShape.model_validate(wrong)
