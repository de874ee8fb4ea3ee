"""The setting `defence`: nothing, a preset by name, or a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.grid.messages import unknown
from jobs.grid.model import Named
from jobs.grid.presets import DEFENCES
from jobs.grid.read_spec import read_member, told_spec
from s2l_core.specs.defences import DefenceSpec

NONE = "none"


def read_defence(raw: Any) -> Named:
    """`none`, a preset's name, or a mapping with a `kind`, as a spec; its value is None for `none`.

    Raises:
        ValueError: what is wrong, what was given, what is allowed.
    """
    if isinstance(raw, Mapping):
        spec = read_member(DefenceSpec, raw, "defence")
        name = next((name for name, preset in DEFENCES.items() if preset.spec == spec), None)
        return Named(name or told_spec(spec), spec)
    if not isinstance(raw, str) or raw not in (NONE, *DEFENCES):
        raise ValueError(unknown("defence", raw, [NONE, *DEFENCES]) + "; or a mapping such as {kind: dp, epsilon: 4}")
    return Named(raw, None if raw == NONE else DEFENCES[raw].spec)
