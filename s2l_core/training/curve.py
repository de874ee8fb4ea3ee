"""What a fit was like, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Curve:
    """What happened, one entry a step."""

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)

    def append(self, step: int, loss: float, lr: float, grad_norm: float) -> None:
        self.step.append(step)
        self.loss.append(loss)
        self.lr.append(lr)
        self.grad_norm.append(grad_norm)
