"""The JSON schema of grid files, for editors. `python -m jobs.grid.schema > docs/grid-schema.json` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from jobs.grid.check import NAME, SECTIONS
from jobs.grid.model import Point
from jobs.grid.presets import DEFENCES, METHODS, PROMPTS
from jobs.grid.profile import LAID_OVER
from jobs.grid.read_defence import NONE as NO_DEFENCE
from jobs.grid.read_fidelity import NONE
from jobs.grid.read_memorisation import DEFAULT
from jobs.policy import RetryPolicy
from s2l_core.specs.attacks import ATTACK_PRESETS
from s2l_core.specs.fidelity import FEATURE_PRESETS

_PRESETS: dict[str, Iterable[str]] = {
    "method": METHODS,
    "match_method": METHODS,
    "attacks": ATTACK_PRESETS,
    "sp_prompts": PROMPTS,
    "fidelity": (NONE, *FEATURE_PRESETS),
    "extraction": (NONE, *FEATURE_PRESETS),
    "memorisation": (NONE, DEFAULT),
    "defence": (NO_DEFENCE, *DEFENCES),
}
_WORDS = {
    "name": "Letters, digits and dashes.",
    "fixed": "Settings that all trials share.",
    "axes": "Settings with several values; the trials are their product.",
    "zip": "Settings whose values move together: lists of equal length.",
    "by_method": "Settings of one method, in place of fixed values and defaults.",
    "when": "Where a setting applies; elsewhere it is absent.",
    "include": "Points added to the product; settings not named take all the grid's values.",
    "exclude": "Points left out of the product.",
    "retry": "What is tried again, and how often; no part of any key.",
    "profiles": "The grid in several sizes: sections that are laid over it. The first is the default.",
}


def grid_schema() -> dict[str, Any]:
    """A JSON schema (draft 2020-12) that accepts what `read_grid` accepts, but for what only the whole grid can tell."""
    point: dict[str, Any] = Point.model_json_schema(ref_template="#/$defs/{model}")
    settings = {name: _field(name, schema) for name, schema in point["properties"].items()}
    one = {name: {"$ref": f"#/$defs/setting_{name}"} for name in settings}
    defs: dict[str, Any] = {
        **point["$defs"],
        **{f"setting_{name}": schema for name, schema in settings.items()},
        "one_each": _object(one),
        "lists": _object({name: {"type": "array", "items": ref, "minItems": 1} for name, ref in one.items()}),
        "one_or_many": _object({name: {"anyOf": [ref, {"type": "array", "items": ref, "minItems": 1}]} for name, ref in one.items()}),
    }
    lists, some = {"$ref": "#/$defs/lists"}, {"$ref": "#/$defs/one_or_many"}
    sections: dict[str, dict[str, Any]] = {
        "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
        "fixed": {"$ref": "#/$defs/one_each"},
        "axes": lists,
        "zip": {"anyOf": [lists, {"type": "array", "items": lists}]},
        "by_method": {"type": "object", "additionalProperties": {"$ref": "#/$defs/one_each", "minProperties": 1}},
        "when": _object(dict.fromkeys(settings, some)),
        "include": {"type": "array", "items": some},
        "exclude": {"type": "array", "items": some},
        "retry": _retry(defs),
    }
    laid_over = _object({name: sections[name] for name in LAID_OVER})
    sections["profiles"] = {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/$defs/profile"}}
    defs["profile"] = laid_over
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "S2L grid",
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {name: {"description": _WORDS[name], **sections[name]} for name in SECTIONS},
        "$defs": defs,
    }


def _retry(defs: dict[str, Any]) -> dict[str, Any]:
    """The section `retry`; adds its classes to the definitions."""
    schema = RetryPolicy.model_json_schema(ref_template="#/$defs/{model}")
    defs.update(schema.pop("$defs"))
    return {name: value for name, value in schema.items() if name in ("type", "properties", "additionalProperties")}


def _field(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """One setting: YAML has no tuples, no None, and reads `1e-6` as text."""
    schema = {key: value for key, value in schema.items() if key not in ("title", "default")}
    if "anyOf" in schema:
        schema["anyOf"] = [_loosened(name, option) for option in schema["anyOf"] if option.get("type") != "null"]
        return schema
    return _loosened(name, schema)


def _loosened(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") == "number":
        as_text = {"type": "string", "pattern": "^[0-9.]+[eE][+-]?[0-9]+$"}
        return {"anyOf": [{key: value for key, value in schema.items() if key != "description"}, as_text]} | (
            {"description": schema["description"]} if "description" in schema else {}
        )
    if name in _PRESETS and schema.get("type") == "string":
        return {"enum": list(_PRESETS[name])}
    if name == "attacks" and schema.get("type") == "array":
        options = [{"enum": list(ATTACK_PRESETS)}, {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string"}}}]
        return {**schema, "items": {"anyOf": options}}
    return schema


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def schema_text() -> str:
    """The file's content."""
    return json.dumps(grid_schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
