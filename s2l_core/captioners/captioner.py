"""What every captioner offers, and how one is found."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from s2l_core.images import ImageRecord
from s2l_core.specs.captioners import CaptionerSpec


class Captioner(Protocol):
    """Describes images. An image's caption depends on its pixels alone: neither on what it is told of it, nor on images beside it."""

    def __call__(self, records: Sequence[ImageRecord]) -> list[str]:
        """One caption an image, all in one batch.

        Raises:
            ValueError: an image cannot be decoded; the message names it.
        """
        ...


def load(spec: CaptionerSpec, *, folder: Path | None = None, device: str = "cpu") -> Captioner:
    """The captioner of a spec.

    Args:
        folder: the network's files, for kinds that have one.

    Raises:
        ValueError: the folder is missing or broken, or does not go with the spec.
    """
    module = importlib.import_module(f"s2l_core.captioners.{spec.kind}")
    return cast(Captioner, module.load(spec, folder=folder, device=device))
