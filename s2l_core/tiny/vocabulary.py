"""A CLIP tokenizer whose vocabulary is made for a handful of words: each of them is one token."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"

_PIECES = re.compile(r"[^\W\d_]+|\d|[^\s\w]+|_+")


def words_of(texts: Iterable[str]) -> list[str]:
    """The distinct words, digits and runs of punctuation of some texts, in lower case, sorted."""
    return sorted({piece for text in texts for piece in _PIECES.findall(text.lower())})


def tokenizer_for(words: Iterable[str], *, tokens: int) -> CLIPTokenizer:
    """A byte-level BPE tokenizer in which each of `words` is one token; any other text is spelled in bytes.

    Args:
        words: as given by `words_of`.
        tokens: the length that prompts are padded or cut to, start and end included.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    alphabet = sorted(ByteLevel.alphabet())
    merges = _merges([_spelled(word) for word in words])
    pieces = [*alphabet, *(letter + WORD_END for letter in alphabet), *(left + right for left, right in merges), START, END]
    return CLIPTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=merges, model_max_length=tokens)


def _spelled(word: str) -> list[str]:
    """A word as byte-level BPE starts with it: one symbol per byte, the last one marked."""
    from tokenizers.pre_tokenizers import ByteLevel

    symbols = list(ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(word)[0][0])
    return [*symbols[:-1], symbols[-1] + WORD_END]


def _merges(spelled: Iterable[list[str]]) -> list[tuple[str, str]]:
    """Merges that make each word one symbol.

    A merge that is added later has a lower priority than all before it, and on a word that was finished before there is an earlier merge to
    apply at every step: so a later word never breaks an earlier one.
    """
    merges: dict[tuple[str, str], int] = {}
    for symbols in spelled:
        left = _apply(symbols, merges)
        while len(left) > 1:
            merges[(left[0], left[1])] = len(merges)
            left = _apply(left, merges)
    return list(merges)


def _apply(symbols: list[str], merges: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding: merge the pair of the highest priority until no pair is left."""
    while True:
        ranked = [(merges[pair], place) for place, pair in enumerate(pairwise(symbols)) if pair in merges]
        if not ranked:
            return symbols
        _, place = min(ranked)
        symbols = [*symbols[:place], symbols[place] + symbols[place + 1], *symbols[place + 2 :]]
