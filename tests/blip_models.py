"""A small random BLIP that tests build themselves: real classes, few channels, weights large enough that images differ in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

_WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] [DEC] [ENC] a picture of the red blue green face man woman dog hat with and on in sky sea grass photo "
    "old young smiling near tall"
)
WORDS = _WORDS.split()
SIDE = 24


def save_blip(folder: Path, *, seed: int = 0) -> Any:
    """Write a BlipForConditionalGeneration with its tokenizer and how it scales images; gives the network."""
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessorPil

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"pad_token_id": 0, "sep_token_id": 3, "eos_token_id": 3, "bos_token_id": 5}
    text = {**small, **special, "vocab_size": len(WORDS), "max_position_embeddings": 32, "encoder_hidden_size": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BlipForConditionalGeneration(
            BlipConfig(text_config=text, vision_config={**small, "image_size": SIDE, "patch_size": 8}, projection_dim=12)
        )
        for parameter in network.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.5)
    network.eval().save_pretrained(folder)
    BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return network
