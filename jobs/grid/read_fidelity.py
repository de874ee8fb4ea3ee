"""The setting `fidelity`: nothing, features by name, or features as a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jobs.grid.messages import show, unknown
from jobs.grid.model import FidelityFeatures, Named, NetworkFeatures
from jobs.grid.read_spec import canonical, read_member
from s2l_core.specs.fidelity import FEATURE_PRESETS, ClipFeatures, FeatureSpec

NONE = "none"


class Measured(NamedTuple):
    """What drawn sets are measured in; `network` names the model behind the features, where there is one."""

    features: FeatureSpec
    network: str | None = None


def read_fidelity(raw: Any) -> Named:
    """`none`, a preset's name, or a mapping with a `kind`, as what is measured; its value is None for `none`.

    Raises:
        ValueError: what is wrong, what was given, what is allowed.
    """
    return Named(raw, None) if raw == NONE else read_features(raw, "fidelity", NONE)


def read_features(raw: Any, what: str, *others: str) -> Named:
    """A preset's name, or a mapping with a `kind`, as what is measured.

    Args:
        what: names the setting in messages.
        others: what else may be said in its place.

    Raises:
        ValueError: what is wrong, what was given, what is allowed.
    """
    if isinstance(raw, Mapping):
        read = read_member(FidelityFeatures, raw, what)
        if isinstance(read, NetworkFeatures):
            return Named(canonical(read.model_dump(mode="json")), Measured(ClipFeatures(), read.model))
        name = next((name for name, spec in FEATURE_PRESETS.items() if spec == read), None)
        return Named(name or canonical(read.model_dump(mode="json")), Measured(read))
    if not isinstance(raw, str) or raw not in FEATURE_PRESETS:
        raise ValueError(unknown("features", raw, [*others, *FEATURE_PRESETS]) + "; or a mapping such as {kind: clip, model: FOLDER}")
    return Named(raw, Measured(FEATURE_PRESETS[raw]))


def read_flag(raw: Any) -> bool:
    """True or false.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(raw, bool):
        raise ValueError(f"got {show(raw)}; it must be true or false")
    return raw
