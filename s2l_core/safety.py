"""Stable Diffusion's own safety checker, asked about drawn images. It rejects; it never blackens or replaces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from s2l_core.families import checker_folder
from s2l_core.families.networks import load_network, reading

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker


class SafetyChecker:
    """The checker of a pipeline folder: an image is rejected when its CLIP embedding is too near to one of the checker's concepts."""

    def __init__(self, network: StableDiffusionSafetyChecker, processor: Any) -> None:
        self._network, self._processor = network, processor

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Read `safety_checker` and `feature_extractor` of a diffusers folder: safetensors only, nothing from the network.

        Raises:
            ValueError: the folder has no safety checker, or a part of it is missing or broken.
        """
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
        from transformers import CLIPImageProcessorPil

        found = checker_folder.inspect(folder)
        network = load_network(StableDiffusionSafetyChecker, folder / "safety_checker", variant=found.variant, dtype=torch.float32)
        extractor = folder / "feature_extractor"
        return cls(network.to(device), reading(extractor, lambda: CLIPImageProcessorPil.from_pretrained(extractor, local_files_only=True)))

    @torch.no_grad()
    def rejects(self, pixels: NDArray[np.uint8]) -> Sequence[bool]:
        """Whether each of the images, uint8 [n, h, w, 3], is rejected, as diffusers' pipeline decides it."""
        from diffusers.utils import logging

        pictures = [Image.fromarray(one) for one in pixels]
        seen = self._processor(pictures, return_tensors="pt").pixel_values.to(self._network.device)
        before = logging.get_verbosity()
        logging.set_verbosity_error()  # it warns of black images, which we do not make
        try:
            _, rejected = self._network(clip_input=seen, images=torch.zeros(len(pictures), 1))
        finally:
            logging.set_verbosity(before)
        return [bool(one) for one in rejected]
