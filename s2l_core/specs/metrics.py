"""What is computed from scores, and with which intervals."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt

from s2l_core.specs.base import Spec


class MetricsSpec(Spec):
    """AUC (DeLong) and TPR at fixed FPRs (bootstrap over both classes), before, after and their paired difference."""

    fprs: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.01, 0.001)
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    seed: NonNegativeInt = 0
