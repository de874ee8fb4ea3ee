"""Textual inversion: new rows are trained, and not one weight that was there before moves."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn

from s2l_core.adapters import attach, attached, save
from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import keyed_noise
from s2l_core.specs.adapters import DenseAdapter, LoraAdapter, NoAdapter, TextualInversionAdapter, token_for
from tests.adapter_cases import PROMPTS, TOKEN, TOKENS, WITH_TOKEN, disturb, small, unchanged
from tests.sd_models import sd_model


@pytest.fixture
def model() -> Iterator[StableDiffusion]:
    yield from unchanged()


def table_of(model: StableDiffusion) -> Tensor:
    return model.text_encoder.get_input_embeddings().weight  # type: ignore[no-any-return]


def train(model: StableDiffusion, parameters: list[nn.Parameter], *, steps: int = 3) -> None:
    """AdamW with a weight decay that nothing it reaches could survive unseen."""
    optimizer = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.9)
    for step in range(steps):
        optimizer.zero_grad()
        (model.encode_text(WITH_TOKEN) - keyed_noise((4, 8, 16), "target", step)).square().mean().backward()
        optimizer.step()


# --- what moves ---


def test_training_moves_the_new_rows_and_not_one_old_one(model: StableDiffusion) -> None:
    before = table_of(model).clone()
    with attach(model, (TOKENS,), seed=1) as on:
        rows = {name: row.detach().clone() for name, row in on.parameters().items()}
        train(model, list(on.parameters().values()))
        assert all(not torch.equal(on.parameters()[name], row) for name, row in rows.items())
        assert torch.equal(table_of(model), before)
        assert table_of(model).grad is None


def test_prompts_without_the_token_mean_what_they_meant_to_the_bit(model: StableDiffusion) -> None:
    before = model.encode_text(PROMPTS)
    with attach(model, (TOKENS,), seed=1) as on:
        train(model, list(on.parameters().values()))
        assert torch.equal(model.encode_text(PROMPTS), before)
        assert not torch.equal(model.encode_text(WITH_TOKEN)[0], model.encode_text(["photo of ada"])[0])


def extended(model: StableDiffusion, rows: list[Tensor]) -> Any:
    """A text encoder whose table is one table, old rows and new ones: what ours stands for."""
    encoder = copy.deepcopy(model.text_encoder)
    encoder.set_input_embeddings(nn.Embedding.from_pretrained(torch.cat([table_of(model).detach(), torch.stack(rows)]), freeze=False))
    return encoder


@pytest.mark.parametrize("adapters", [(TOKENS, DenseAdapter()), (DenseAdapter(), TOKENS)], ids=["token first", "dense first"])
def test_with_dense_each_row_of_the_table_has_the_gradient_of_one_larger_table(model: StableDiffusion, adapters: Any) -> None:
    with attach(model, (TOKENS,), seed=1) as on:
        reference = extended(model, [row.detach() for row in on.parameters().values()])
        ids = model.tokenize(WITH_TOKEN)
    size = len(table_of(model))
    with attach(model, adapters, seed=1) as on:
        encoded = model.encode_text(WITH_TOKEN)
        encoded.square().sum().backward()
        expected = reference(ids).last_hidden_state
        expected.square().sum().backward()
        whole = reference.get_input_embeddings().weight.grad
        torch.testing.assert_close(encoded, expected)
        torch.testing.assert_close(table_of(model).grad, whole[:size])
        rows = [row.grad for name, row in on.parameters().items() if "learned_embeds" in name]
        torch.testing.assert_close(torch.stack(rows), whole[size:])
        assert whole[size:].abs().sum() > 0


# --- tokens ---


def test_a_new_token_is_one_id_wherever_it_stands(model: StableDiffusion) -> None:
    plain = len(model.tokenizer)
    with attach(model, (TOKENS,), seed=1):
        ids = model.tokenize(["photo of <s2l>", "<s2l>, face of <S2L-b>", "PHOTO OF <S2L>"]).tolist()
        assert [sum(token >= plain for token in row) for row in ids] == [1, 2, 1]
        assert ids[0] == ids[2]
        assert model.tokenize(["photo of <s2l> <S2L-b>"]).tolist()[0][3:5] == [plain, plain + 1]
    assert all(token < plain for token in model.tokenize(["photo of <s2l>"]).tolist()[0])


def test_a_prompt_longer_than_the_context_is_cut_as_before(model: StableDiffusion) -> None:
    with attach(model, (TOKEN,), seed=1) as on:
        long = "photo of ada face of bob photo of <s2l> photo"
        assert model.tokenize([long]).shape == (1, 8)
        assert torch.equal(model.encode_text([long]), model.encode_text(["photo of ada face of bob"]))
        disturb(on)
        assert torch.equal(model.encode_text([long]), model.encode_text(["photo of ada face of bob"]))


def test_the_models_own_tokenizer_object_comes_back(model: StableDiffusion) -> None:
    tokenizer = model.tokenizer
    with attach(model, (TOKEN,), seed=1):
        assert model.tokenizer is not tokenizer
        assert "<s2l>" in model.tokenizer.get_vocab()
    assert model.tokenizer is tokenizer
    assert "<s2l>" not in tokenizer.get_vocab()


def test_a_table_with_more_rows_than_the_tokenizer_has_tokens_keeps_them_all() -> None:
    """Some models' tables are padded: the new token's id then is that of a row that exists."""
    model = small(seed=0)
    model.text_encoder.set_input_embeddings(nn.Embedding.from_pretrained(torch.cat([table_of(model), torch.zeros(7, 16)])))
    before = table_of(model).clone()
    with attach(model, (TOKENS,), seed=1) as on:
        disturb(on)
        row = model.text_encoder.get_input_embeddings()(model.tokenize(["<s2l>"]))[0, 1]
        assert torch.equal(row, on.parameters()["text_encoder.learned_embeds.<s2l>"])
        assert torch.equal(table_of(model), before)


def test_the_real_tokenizer_of_stable_diffusion_knows_the_token_too(tmp_path: Path) -> None:
    model = sd_model(width=16)
    with attach(model, (TextualInversionAdapter(tokens=("<s2l>",), start_from="person"),), seed=1) as on:
        row = on.parameters()["text_encoder.learned_embeds.<s2l>"]
        (person,) = model.tokenizer("person", add_special_tokens=False).input_ids
        assert torch.equal(row, table_of(model)[person])
        assert model.tokenize(["a photo of <s2l>'s hat"])[0, 4] == 49408
        disturb(on)
        moved = model.encode_text(["photo of <s2l>"])
        save(on, tmp_path)
    with attached(model, tmp_path):
        assert torch.equal(model.encode_text(["photo of <s2l>"]), moved)


# --- where it starts, and its files ---


def test_a_row_starts_at_the_words_own(model: StableDiffusion) -> None:
    with attach(model, (TOKENS,), seed=1):
        rows = model.text_encoder.get_input_embeddings()(model.tokenize(["photo <s2l> <S2L-b>"]))[0]
        assert torch.equal(rows[2], rows[1])
        assert torch.equal(rows[3], rows[1])


def test_a_row_without_a_word_is_drawn_with_the_tables_mean_and_spread() -> None:
    model = small(seed=0)
    with torch.no_grad():
        table_of(model).copy_(keyed_noise(table_of(model).shape, "table") * torch.linspace(0.1, 2, 16) + torch.arange(16.0))
    tokens = tuple(f"<t{number}>" for number in range(400))
    with attach(model, (TextualInversionAdapter(tokens=tokens),), seed=1) as on:
        rows = torch.stack(list(on.parameters().values()))
        assert (rows.mean(dim=0) - table_of(model).mean(dim=0)).abs().max() < 0.4
        torch.testing.assert_close(rows.std(dim=0), table_of(model).std(dim=0), rtol=0.15, atol=0)
        first = rows[0].detach().clone()
    with attach(model, (TextualInversionAdapter(tokens=tokens[:1]),), seed=1) as on:
        assert torch.equal(next(iter(on.parameters().values())), first)  # of the seed and the token alone


def test_each_token_is_a_file_of_its_name_and_its_row(model: StableDiffusion, tmp_path: Path) -> None:
    with attach(model, (TOKENS,), seed=1) as on:
        disturb(on)
        rows = {name.removeprefix("text_encoder.learned_embeds."): row.detach().clone() for name, row in on.parameters().items()}
        save(on, tmp_path)
    for name, token in (("learned_embeds.safetensors", "<s2l>"), ("learned_embeds_1.safetensors", "<S2L-b>")):
        saved = load_file(tmp_path / name)
        assert list(saved) == [token]
        assert saved[token].shape == (16,)
        assert torch.equal(saved[token], rows[token])


# --- what does not fit ---


def test_a_token_that_the_model_knows_is_refused() -> None:
    model = small(seed=0)
    model.tokenizer.add_tokens(["<s2l>"])
    with pytest.raises(ValueError, match=r"the token <s2l> is in the model's vocabulary already; a new token needs another name"):
        attach(model, (TOKEN,), seed=0)


def test_tokens_that_the_tokenizer_cannot_tell_apart_are_refused(model: StableDiffusion) -> None:
    spec = TextualInversionAdapter(tokens=("<ada>", "<ADA>"))
    with pytest.raises(ValueError, match=r"the model's tokenizer reads the new token <\w+> as <\w+>: they may differ by their case alone"):
        attach(model, (spec,), seed=0)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("phot", r"must be a word that is one token; got 'phot', which is 2 \(pho t</w>\); the nearest that are one: photo"),
        ("photo of ada", r"got 'photo of ada', which is 3 \(photo</w> of</w> ada</w>\)"),
        (" ", r"got ' ', which is 0 \(nothing\)"),
    ],
)
def test_a_start_that_is_not_one_token_is_refused_and_the_nearest_are_told(model: StableDiffusion, word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attach(model, (TextualInversionAdapter(start_from=word),), seed=0)


def test_a_spec_with_a_token_twice_or_without_brackets_is_refused() -> None:
    with pytest.raises(ValidationError, match="tokens must be distinct; got <a> more than once; give each its own name"):
        TextualInversionAdapter(tokens=("<a>", "<b>", "<a>"))
    with pytest.raises(ValidationError, match="pattern"):
        TextualInversionAdapter(tokens=("ada",))


# --- in prompts ---


def test_the_tokens_stand_for_the_name_and_other_methods_leave_it() -> None:
    assert token_for((TOKENS, LoraAdapter())) == "<s2l> <S2L-b>"
    assert token_for((DenseAdapter(), TOKEN)) == "<s2l>"
    assert token_for((LoraAdapter(), NoAdapter())) is None
    assert token_for(()) is None
