"""What every feature extractor offers, and how one is found."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from s2l_core.images import ImageRecord
from s2l_core.specs.fidelity import FeatureSpec

Floats = NDArray[np.float64]


class Extractor(Protocol):
    """Features of images. An image's features depend on the image, and on those beside it by rounding at most."""

    def __call__(self, records: Sequence[ImageRecord]) -> Floats:
        """Features [n, d].

        Raises:
            ValueError: an image cannot be decoded; the message names it.
        """
        ...

    def prompt_similarity(self, records: Sequence[ImageRecord]) -> Floats | None:
        """How well each image shows what its text says [n]; None where the extractor cannot read."""
        ...


def load(spec: FeatureSpec, *, folder: Path | None = None, device: str = "cpu") -> Extractor:
    """The extractor of a spec.

    Args:
        folder: the network's files, for kinds that need some.

    Raises:
        ValueError: the folder is missing or broken.
    """
    module = importlib.import_module(f"s2l_core.features.{spec.kind}")
    return cast(Extractor, module.load(spec, folder=folder, device=device))
