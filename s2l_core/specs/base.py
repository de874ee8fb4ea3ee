"""The base of every spec: a frozen value that rejects what it does not know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A frozen, hashable description of something to compute. Equal specs mean equal results.

    Specs import no torch: planning a grid of ten thousand trials must be fast.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
