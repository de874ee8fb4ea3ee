"""A small problem to fit, checkpoints in a folder, and how a test stops a fit in the middle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from s2l_core.specs.training import TrainSpec
from s2l_core.training.fit import Batch, Curve, fit

EXAMPLES = 10
SPEC = TrainSpec(steps=12, batch_size=4, lr=1e-2, schedule="cosine", warmup_steps=3)


class Problem:
    """Noisy regression by a small network; the loss draws keyed noise, keyed integers and torch's own dropout."""

    def __init__(self, dropout: float = 0.3) -> None:
        stream = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(EXAMPLES, 3, generator=stream)
        self.network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(dropout), nn.Linear(8, 2))
        with torch.no_grad():
            for parameter in self.network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=stream))
        self.parameters = dict(self.network.named_parameters())

    def loss(self, batch: Batch) -> Tensor:
        target = batch.noise((2,)) + batch.integers(5)[:, None] + batch.uniform("shift")[:, None]
        return (self.network(self.inputs[batch.indices]) - target).square().mean(dim=1)

    def fit(self, training: TrainSpec = SPEC, **options: object) -> Curve:
        return fit(self.parameters, self.loss, examples=EXAMPLES, training=training, seed=5, **options)  # type: ignore[arg-type]

    def weights(self) -> Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters.values()])


class Kept:
    """Checkpoints in numbered folders, each whole because it is renamed into place; due after every `every` steps."""

    def __init__(self, folder: Path, every: int = 1) -> None:
        self.folder, self.every = folder, every
        folder.mkdir(exist_ok=True)

    def load(self, into: Path) -> bool:
        if not self.saved():
            return False
        shutil.copytree(self.folder / f"{self.saved() - 1:03d}", into, dirs_exist_ok=True)
        return True

    def save(self, folder: Path) -> None:
        shutil.rmtree(self.folder / "half", ignore_errors=True)
        shutil.copytree(folder, self.folder / "half")
        (self.folder / "half").rename(self.folder / f"{self.saved():03d}")

    def saved(self) -> int:
        return sum(path.name != "half" for path in self.folder.iterdir())

    def due(self, step: int) -> bool:
        return step % self.every == 0


class Stop(Exception):
    pass


def stop_after(step: int) -> Callable[[int], None]:
    def observe(done: int) -> None:
        if done == step:
            raise Stop

    return observe
