"""How the gradient of one step comes about: a rule, so that a defence can put its own in the place of the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from s2l_core.training.accelerated import Accelerated
from s2l_core.training.batch import Batch, Loss


class GradientRule(Protocol):
    """Makes one step's gradient."""

    def __call__(self, run: Accelerated, loss: Loss, batch: Batch) -> float:
        """Leave the gradient in `.grad` of what is trained, and return the step's loss: both over all of the fit's processes."""
        ...


@dataclass(frozen=True)
class MeanGradient:
    """The gradient of the mean of the examples' losses.

    Attributes:
        batch_size: what the sum is divided by: the size of the batch, or the expected one where that is drawn.
        micro_batch: how many examples pass at once; None: all.
    """

    batch_size: int
    micro_batch: int | None = None

    def __call__(self, run: Accelerated, loss: Loss, batch: Batch) -> float:
        total = 0.0
        for piece in batch.pieces(self.micro_batch or self.batch_size):
            with run.autocast():
                value = loss(piece).float().sum() / self.batch_size
            total += float(value.detach())
            run.backward(value)
        return run.over_processes(total)
