"""The setting `extraction`: nothing, features by name, or a mapping with features and what differs from the published protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jobs.grid.messages import show, unknown
from jobs.grid.model import ExtractionSettings, Named
from jobs.grid.read_fidelity import NONE, Measured, read_features
from jobs.grid.read_spec import canonical, read_spec
from s2l_core.specs.extraction import ExtractionSpec
from s2l_core.specs.fidelity import FEATURE_PRESETS


class Extracted(NamedTuple):
    """How candidates are matched; `network` names the model behind the features, where there is one."""

    spec: ExtractionSpec
    network: str | None = None


def read_extraction(raw: Any) -> Named:
    """`none`, the name of features, or a mapping, as how candidates are matched; its value is None for `none`.

    Raises:
        ValueError: what is wrong, what was given, what is allowed.
    """
    if isinstance(raw, Mapping):
        return _read_mapping(raw)
    if not isinstance(raw, str) or raw not in (NONE, *FEATURE_PRESETS):
        example = "{features: {kind: clip, model: FOLDER}, candidates: 5000}"
        raise ValueError(unknown("extraction", raw, [NONE, *FEATURE_PRESETS]) + f"; or a mapping such as {example}")
    return Named(raw, None if raw == NONE else Extracted(ExtractionSpec(features=FEATURE_PRESETS[raw])))


def _read_mapping(raw: Mapping[str, Any]) -> Named:
    if "features" not in raw:
        raise ValueError(
            f"extraction.features: is missing in {show(raw)}; allowed: {', '.join(FEATURE_PRESETS)}, or a mapping with a `kind`"
        )
    features = read_features(raw["features"], "extraction.features")
    measured: Measured = features.value
    settings = read_spec(ExtractionSettings, {**raw, "features": next(iter(FEATURE_PRESETS))}, "extraction")
    rest = settings.model_dump(exclude={"features"})
    told = settings.model_dump(mode="json", exclude={"features"}, exclude_defaults=True)
    spec = ExtractionSpec(features=measured.features, **rest)
    label = canonical({"features": features.label, **told}) if told else features.label
    return Named(label, Extracted(spec, measured.network))
