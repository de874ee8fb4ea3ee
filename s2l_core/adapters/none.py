"""Nothing is trained: the baseline."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import NoAdapter


class Nothing:
    """The empty part."""

    def parameters(self) -> dict[str, nn.Parameter]:
        return {}

    def state(self) -> dict[str, Tensor]:
        return {}

    def metadata(self) -> dict[str, Any]:
        return {}

    def train(self, mode: bool) -> None:
        return None

    def detach(self) -> None:
        return None


def attach(model: StableDiffusion, spec: NoAdapter, *, seed: int) -> Nothing:
    return Nothing()
