"""Mappings of a grid file as specs: unknown keys and kinds are told with the nearest spelling."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from jobs.grid.messages import explain, listed, show, unknown
from s2l_core.specs.base import Spec


def kinds_of(union: Any) -> dict[str, type[Spec]]:
    """kind -> class of a discriminated union of specs."""
    classes: Any = get_args(get_args(union)[0])
    return {str(cls.model_fields["kind"].default): cls for cls in classes}


_TAG = re.compile(r"constrained-|literal\[|function-|(float|int|str|bool|tuple|list)(\[|$)")
"""What pydantic puts into a place for the branch of a union that it tried: nothing that a user wrote."""


def read_spec(cls: type[BaseModel], raw: Any, what: str) -> Any:
    """A mapping as a spec of that class; unknown keys are told with the nearest spelling."""
    if not isinstance(raw, Mapping):
        raise ValueError(f"{what}: got {show(raw)}; it must be a mapping with {listed(cls.model_fields)}")
    for key in raw:
        if key not in cls.model_fields:
            raise ValueError(f"{what}: {unknown('key', key, cls.model_fields)}")
    try:
        return cls.model_validate(dict(raw))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"] if not _TAG.match(str(part)))
        raise ValueError(f"{what}{where}: {explain(first)}") from None


def read_member(union: Any, raw: Any, what: str) -> Any:
    """A mapping with `kind` as the member of a union."""
    kinds = kinds_of(union)
    if not isinstance(raw, Mapping):
        raise ValueError(f"{what}: got {show(raw)}; it must be a mapping with a `kind`: {listed(kinds)}")
    if "kind" not in raw:
        raise ValueError(f"{what}: `kind` is missing; allowed: {listed(kinds)}")
    if raw["kind"] not in kinds:
        raise ValueError(f"{what}: {unknown('kind', raw['kind'], kinds)}")
    return read_spec(kinds[raw["kind"]], raw, what)


def placeholders(text: str) -> set[str]:
    """What stands in braces in a text; `?` where they do not match."""
    try:
        return {place for _, place, _, _ in string.Formatter().parse(text) if place is not None}
    except ValueError:
        return {"?"}


def check_template(text: str, what: str) -> None:
    """Raise a ValueError unless `{name}` is the one placeholder of the text."""
    if placeholders(text) != {"name"}:
        raise ValueError(f"{what}: got {show(text)}; a prompt holds {{name}} for the domain's name, and no other braces")


def canonical(value: Any) -> str:
    """The text under which equal JSON values are one."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def told_spec(spec: Spec) -> str:
    """The kind and what differs from its defaults: equal texts mean equal specs."""
    told = {name: value for name, value in spec.model_dump(mode="json", exclude_defaults=True).items() if name != "kind"}
    kind = str(spec.kind)  # type: ignore[attr-defined]
    return f"{kind}({','.join(f'{name}={canonical(value)}' for name, value in sorted(told.items()))})" if told else kind
