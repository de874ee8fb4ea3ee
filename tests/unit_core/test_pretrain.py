"""Making small models from nothing, and on an autoencoder that is taken over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from s2l_core import tiny
from s2l_core.faces import records
from s2l_core.images import ImageRecord
from s2l_core.pretrain import pretrain
from s2l_core.specs.pretrain import PretrainSpec, SmallShape
from s2l_core.specs.training import TrainSpec
from s2l_core.tiny.vocabulary import tokenizer_for, words_of

MOMENT = TrainSpec(steps=2, batch_size=4, lr=1e-3)
SMALL = PretrainSpec(
    shape=SmallShape(vae_channels=(8, 8), unet_channels=(8, 8), text_width=8, text_layers=1, heads=2, image_size=16),
    autoencoder=MOMENT,
    denoiser=MOMENT,
)


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


# --- an autoencoder that is taken over ---


BORROWER = SMALL.model_copy(update={"autoencoder": None, "shape": SMALL.shape.model_copy(update={"unet_channels": (16, 8)})})


def test_an_autoencoder_is_taken_over_byte_for_byte_and_not_trained(tmp_path: Path) -> None:
    """Also where the model is stored in half precision and the autoencoder was not."""
    pretrain(people(4), tmp_path / "whole", config=SMALL.model_copy(update={"stored_as": "fp32"}))
    made = pretrain(people(4), tmp_path / "model", config=BORROWER, autoencoder_from=tmp_path / "whole")
    assert tiny.digest_of(tmp_path / "model" / "vae") == tiny.digest_of(tmp_path / "whole" / "vae")
    assert made.autoencoder is None
    assert len(made.denoiser.loss) == MOMENT.steps
    assert json.loads((tmp_path / "model" / "unet" / "config.json").read_text())["block_out_channels"] == [16, 8]


def test_an_autoencoder_in_half_precision_files_is_taken_over_under_the_plain_name(small: Path, tmp_path: Path) -> None:
    halved = tmp_path / "halved"
    shutil.copytree(small, halved)
    weights = halved / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    pretrain(people(4), tmp_path / "model", config=BORROWER, autoencoder_from=halved)
    assert tiny.digest_of(tmp_path / "model" / "vae") == tiny.digest_of(small / "vae")


def test_the_denoiser_learns_the_latents_of_the_autoencoder_that_is_taken_over(small: Path, tmp_path: Path) -> None:
    """With another scale in the autoencoder's config the latents are others, and so is what is learned from them."""
    rescaled = tmp_path / "rescaled"
    shutil.copytree(small, rescaled)
    config = rescaled / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scaling_factor": 9.0}))
    first = pretrain(people(4), tmp_path / "first", config=BORROWER, autoencoder_from=small)
    second = pretrain(people(4), tmp_path / "second", config=BORROWER, autoencoder_from=rescaled)
    assert first.denoiser.loss != second.denoiser.loss


def test_an_autoencoder_that_is_missing_unasked_for_or_of_another_shape_is_refused(small: Path, tmp_path: Path) -> None:
    other = BORROWER.model_copy(update={"shape": BORROWER.shape.model_copy(update={"vae_channels": (8, 16)})})
    with pytest.raises(ValueError, match="no autoencoder is trained and none is given; name the model folder it is taken from"):
        pretrain(people(4), tmp_path / "model", config=BORROWER)
    with pytest.raises(ValueError, match=r"an autoencoder is to be trained and to be taken from .*set autoencoder to None"):
        pretrain(people(4), tmp_path / "model", config=SMALL, autoencoder_from=small)
    with pytest.raises(ValueError, match=r"has vae_channels \[8, 8\] and latent_channels 4, and the shape says \[8, 16\] and 4"):
        pretrain(people(4), tmp_path / "model", config=other, autoencoder_from=small)
    with pytest.raises(ValueError, match=r"4 images are for the autoencoder alone, which is taken from .* leave them out"):
        pretrain(people(4), tmp_path / "model", config=BORROWER, autoencoder_from=small, autoencoder_only=people(4))
    assert not (tmp_path / "model").exists()


def people(number: int) -> list[ImageRecord]:
    return records("zorvik", seed=0, members=number, non_members=0)


# --- words and shapes ---


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
        ({"unet_channels": (12, 16)}, "unet_channels: channels must be multiples of norm_groups=8; got 12; the nearest: 8 or 16"),
        ({"vae_channels": (16, 4)}, "vae_channels: channels must be multiples of norm_groups=8; got 4; the nearest: 8"),
        ({"unet_channels": (16, 24), "heads": 16}, "unet_channels: channels must be multiples of heads=16; got 24; the nearest: 16 or 32"),
        ({"text_width": 30}, "text_width must be a multiple of heads=4; got 30"),
    ],
)
def test_impossible_shapes_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmallShape.model_validate(wrong)
