"""Captions of a BLIP (arXiv 2201.12086) from a folder. Letters: n images, h height, w width, p tokens of the prompt, t tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from s2l_core.attacks.precision import exact_arithmetic
from s2l_core.families import blip_folder
from s2l_core.families.networks import load_network, reading
from s2l_core.images import ImageRecord, opened
from s2l_core.specs.captioners import BlipCaptioner


class Blip:
    """Captions by beam search, in double precision.

    In single precision the size of a batch moves sums in the seventh digit: where two words are as near as that, a caption would depend on
    what else is captioned. In double precision no two words of a trained network are. Captions are made once: twice the time is cheap.
    """

    def __init__(self, network: Any, processor: Any, tokenizer: Any, spec: BlipCaptioner) -> None:
        self._network, self._processor, self._tokenizer, self._spec = network, processor, tokenizer, spec
        self._prompt = torch.tensor([tokenizer(spec.prompt)["input_ids"]], device=network.device)  # [1, p], start and end included
        self._check_length()

    def __call__(self, records: Sequence[ImageRecord]) -> list[str]:
        if not records:
            return []
        pixels = self._processor([opened(record) for record in records], return_tensors="pt").pixel_values  # [n, 3, h, w]
        with exact_arithmetic(self._network.device.type):
            tokens = self._network.generate(  # [n, t]; the network leaves the prompt's end away
                pixel_values=pixels.to(self._network.device, self._network.dtype),
                input_ids=self._prompt.repeat(len(records), 1),
                do_sample=False,
                num_beams=self._spec.beams,
                max_length=self._spec.max_tokens,
                min_length=self._spec.min_tokens,
                length_penalty=1.0,
                repetition_penalty=1.0,
            )
        found = self._tokenizer.batch_decode(tokens[:, self._prompt.shape[1] - 1 :], skip_special_tokens=True)
        return [" ".join(text.split()) for text in found]

    def _check_length(self) -> None:
        asked, longest = self._spec.max_tokens, int(self._network.config.text_config.max_position_embeddings)
        prompt = self._prompt.shape[1] - 1
        if not prompt < asked <= longest:
            raise ValueError(
                f"max_tokens counts the {prompt} tokens of the prompt too, and this captioner has {longest} places; got {asked}; give "
                f"{prompt + 1} to {longest}"
            )


def load(spec: BlipCaptioner, *, folder: Path | None, device: str) -> Blip:
    """The network of a folder in the transformers layout: safetensors only, nothing from the network, no code of the folder's.

    Raises:
        ValueError: no folder is given, it holds no captioning BLIP, a part of it is missing or broken, or the prompt is too long for it.
    """
    from transformers import BertTokenizer, BlipForConditionalGeneration, BlipImageProcessorPil

    if folder is None:
        raise ValueError("the captioner blip needs the folder of a BLIP, and none is given")
    found = blip_folder.inspect(folder)
    processor = reading(folder, lambda: BlipImageProcessorPil.from_pretrained(folder, local_files_only=True))
    tokenizer = reading(folder, lambda: BertTokenizer.from_pretrained(folder, local_files_only=True))
    network = load_network(BlipForConditionalGeneration, folder, variant=found.variant, dtype=torch.float64).to(device)
    return Blip(network, processor, tokenizer, spec)
