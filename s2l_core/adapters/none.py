"""Nothing is trained: the baseline."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from s2l_core.adapters.part import Change, WeightsFile
from s2l_core.families.sd import StableDiffusion
from s2l_core.specs.adapters import NoAdapter


class Nothing:
    """The empty part."""

    def parameters(self) -> dict[str, nn.Parameter]:
        return {}

    def files(self) -> dict[str, WeightsFile]:
        return {}

    def load(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        return None

    def change(self) -> dict[str, Change]:
        return {}

    def train(self, mode: bool) -> None:
        return None

    def detach(self) -> None:
        return None


def attach(model: StableDiffusion, spec: NoAdapter, *, seed: int) -> Nothing:
    return Nothing()
