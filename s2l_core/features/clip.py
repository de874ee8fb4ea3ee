"""Image embeddings of a CLIP model from a folder. Letters: n images, d width of the embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s2l_core.attacks.precision import exact_arithmetic
from s2l_core.families import clip_folder
from s2l_core.families.networks import load_network, reading
from s2l_core.images import ImageRecord, opened
from s2l_core.specs.fidelity import ClipFeatures

Floats = NDArray[np.float64]

BATCH = 16


class Clip:
    """Embeddings [n, d]: projected into the space shared with texts where the folder has that projection, else the pooled output.

    Attributes:
        embed: pixels [n, 3, h, w] -> embeddings [n, d].
    """

    def __init__(self, network: Any, processor: Any, tokenizer: Any, embed: Callable[[Tensor], Tensor]) -> None:
        self._network, self._processor, self._tokenizer, self.embed = network, processor, tokenizer, embed

    def __call__(self, records: Sequence[ImageRecord]) -> Floats:
        parts = [self._images(records[first : first + BATCH]) for first in range(0, len(records), BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, 0))

    def prompt_similarity(self, records: Sequence[ImageRecord]) -> Floats | None:
        """Cosine of each image's embedding and its text's (what CLIPScore, arXiv 2104.08718, scales by 2.5)."""
        if self._tokenizer is None:
            return None
        if not records:
            return np.empty(0)
        images = self(records)
        known = {text: self._text(text) for text in dict.fromkeys(record.text for record in records)}
        texts = np.array([known[record.text] for record in records])
        lengths = np.linalg.norm(images, axis=1) * np.linalg.norm(texts, axis=1)
        return np.asarray((images * texts).sum(axis=1) / lengths)

    @torch.no_grad()
    def _images(self, records: Sequence[ImageRecord]) -> Floats:
        pixels = self._processor([opened(record) for record in records], return_tensors="pt").pixel_values
        with exact_arithmetic(self._network.device.type):
            return _numbers(self.embed(pixels.to(self._network.device)))

    @torch.no_grad()
    def _text(self, text: str) -> Floats:
        length = int(self._network.config.text_config.max_position_embeddings)
        tokens = self._tokenizer([text], truncation=True, max_length=length, return_tensors="pt").to(self._network.device)
        with exact_arithmetic(self._network.device.type):
            return np.asarray(_numbers(self._network.get_text_features(**tokens).pooler_output)[0])


def load(spec: ClipFeatures, *, folder: Path | None, device: str) -> Clip:
    """The network of a folder in the transformers layout: safetensors only, nothing from the network.

    Raises:
        ValueError: no folder is given, it holds no CLIP, or a part of it is missing or broken.
    """
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer, CLIPVisionModel, CLIPVisionModelWithProjection

    if folder is None:
        raise ValueError("CLIP features need the folder of a CLIP model, and none is given")
    found = clip_folder.inspect(folder)
    processor = reading(folder, lambda: CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True))
    if found.text:
        tokenizer = reading(folder, lambda: CLIPTokenizer.from_pretrained(folder, local_files_only=True))
        whole = load_network(CLIPModel, folder, variant=found.variant, dtype=torch.float32).to(device)
        return Clip(whole, processor, tokenizer, lambda pixels: whole.get_image_features(pixels).pooler_output)
    cls = CLIPVisionModelWithProjection if found.projected else CLIPVisionModel
    vision = load_network(cls, folder, variant=found.variant, dtype=torch.float32).to(device)
    return Clip(vision, processor, None, lambda pixels: vision(pixels).image_embeds if found.projected else vision(pixels).pooler_output)


def _numbers(values: Tensor) -> Floats:
    return np.asarray(values.double().cpu().numpy(), dtype=np.float64)
