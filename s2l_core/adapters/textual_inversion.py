"""Embedding rows of new tokens (arXiv 2208.01618). The tokenizer is a copy, and the table that was there is not touched."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from s2l_core.adapters.part import Change, WeightsFile, copy_into
from s2l_core.families.sd import StableDiffusion
from s2l_core.randomness import keyed_noise
from s2l_core.specs.adapters import TextualInversionAdapter

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


class ExtendedEmbedding(nn.Module):
    """A table of embeddings that stays as it is, and rows of their own for some token ids.

    Ids are looked up, not counted from the table's end: some models' tables have more rows than their tokenizer has tokens.
    """

    ids: Tensor

    def __init__(self, table: nn.Embedding, ids: Sequence[int], rows: Sequence[Tensor]) -> None:
        super().__init__()
        self.weight = table.weight
        self.rows = nn.ParameterList(rows)
        self.register_buffer("ids", torch.tensor(ids, device=table.weight.device), persistent=False)
        self.train(table.training)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeddings [n, L, D] of token ids [n, L]."""
        same = tokens[..., None] == self.ids
        new = same.any(dim=-1)
        old_rows = nn.functional.embedding(tokens.masked_fill(new, 0), self.weight)
        new_rows = nn.functional.embedding(same.int().argmax(dim=-1), torch.stack(list(self.rows)))
        return torch.where(new[..., None], new_rows, old_rows)


class TextualInversion:
    """New tokens of one model."""

    def __init__(self, model: StableDiffusion, tokens: Sequence[str], tokenizer: CLIPTokenizer, rows: Sequence[Tensor]) -> None:
        self._model = model
        self._tokens = tokens
        self._tokenizer = model.tokenizer
        self._table: nn.Module = model.text_encoder.get_input_embeddings()
        ids = [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens]
        self._embedding = ExtendedEmbedding(cast(nn.Embedding, self._table), ids, rows)
        model.tokenizer = tokenizer
        model.text_encoder.set_input_embeddings(self._embedding)

    def parameters(self) -> dict[str, nn.Parameter]:
        return {f"text_encoder.learned_embeds.{token}": row for token, row in zip(self._tokens, self._embedding.rows, strict=True)}

    def files(self) -> dict[str, WeightsFile]:
        """One a token, as diffusers' `load_textual_inversion` reads them: the token's name, and its row [D]."""
        rows = zip(self._tokens, self._embedding.rows, strict=True)
        return {_file_name(place): WeightsFile({token: row.data}) for place, (token, row) in enumerate(rows)}

    def load(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        copy_into(self.files(), files)

    def change(self) -> dict[str, Change]:
        return {}

    def train(self, mode: bool) -> None:
        return None

    def detach(self) -> None:
        self._model.tokenizer = self._tokenizer
        self._model.text_encoder.set_input_embeddings(self._table)


def attach(model: StableDiffusion, spec: TextualInversionAdapter, *, seed: int) -> TextualInversion:
    """New tokens with rows that begin at a word's, or are drawn with the table's mean and spread from (seed, token).

    Raises:
        ValueError: a token is known already or the tokenizer cannot tell it from another, or `start_from` is not one token.
    """
    table: Tensor = model.text_encoder.get_input_embeddings().weight
    start = None if spec.start_from is None else table[_id_of(model.tokenizer, spec.start_from)].detach()
    rows = [_drawn(table, seed, token) if start is None else start.clone() for token in spec.tokens]
    return TextualInversion(model, spec.tokens, _extended(model.tokenizer, spec.tokens), rows)


def _extended(tokenizer: CLIPTokenizer, tokens: Sequence[str]) -> CLIPTokenizer:
    """A copy that knows the tokens too."""
    known = tokenizer.get_vocab()
    for token in tokens:
        if token in known:
            raise ValueError(f"the token {token} is in the model's vocabulary already; a new token needs another name, such as <s2l-new>")
    found = copy.deepcopy(tokenizer)
    found.add_tokens(list(tokens))
    for token in tokens:
        read = _ids_of(found, token)
        if read != [found.convert_tokens_to_ids(token)]:
            raise ValueError(
                f"the model's tokenizer reads the new token {token} as {' '.join(found.convert_ids_to_tokens(read))}: they may differ by "
                "their case alone; give it another name"
            )
    return found


def _ids_of(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def _id_of(tokenizer: CLIPTokenizer, word: str) -> int:
    ids = _ids_of(tokenizer, word)
    if len(ids) == 1:
        return ids[0]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    words = sorted(piece.removesuffix("</w>") for piece in tokenizer.get_vocab() if piece.endswith("</w>"))
    near = difflib.get_close_matches(word.lower(), words, n=3, cutoff=0.0)
    raise ValueError(
        f"start_from must be a word that is one token; got {word!r}, which is {len(pieces)} ({' '.join(pieces) or 'nothing'}); "
        f"the nearest that are one: {', '.join(near)}"
    )


def _drawn(table: Tensor, seed: int, token: str) -> Tensor:
    """A row [D] with the mean and the standard deviation that each place of a row has over the table."""
    exact = table.detach().cpu().double()
    noise = keyed_noise(exact.shape[1:], "textual-inversion", seed, token).double()
    return (exact.mean(dim=0) + exact.std(dim=0) * noise).to(table)


def _file_name(place: int) -> str:
    return f"learned_embeds{f'_{place}' if place else ''}.safetensors"
