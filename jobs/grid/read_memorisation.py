"""The setting `memorisation`: nothing, the published settings, or a mapping with what differs from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.grid.messages import unknown
from jobs.grid.model import Named
from jobs.grid.read_fidelity import NONE
from jobs.grid.read_spec import canonical, check_template, read_spec
from s2l_core.specs.memorisation import MemorisationSpec

DEFAULT = "default"


def read_memorisation(raw: Any) -> Named:
    """`none`, `default`, or a mapping, as what is asked; its value is None for `none`.

    Raises:
        ValueError: what is wrong, what was given, what is allowed.
    """
    if isinstance(raw, Mapping):
        spec: MemorisationSpec = read_spec(MemorisationSpec, raw, "memorisation")
        for number, prompt in enumerate(spec.prompts):
            check_template(prompt, f"memorisation.prompts[{number}]")
        told = spec.model_dump(mode="json", exclude_defaults=True)
        return Named(canonical(told) if told else DEFAULT, spec)
    if not isinstance(raw, str) or raw not in (NONE, DEFAULT):
        raise ValueError(unknown("memorisation", raw, [NONE, DEFAULT]) + "; or a mapping such as {prompts: ['photo of {name}'], noises: 8}")
    return Named(raw, None if raw == NONE else MemorisationSpec())
