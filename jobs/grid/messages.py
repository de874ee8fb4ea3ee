"""How a wrong value is told: what it is, what was given, what is allowed, and the nearest spelling."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any

from pydantic_core import ErrorDetails

_KINDS_OF_VALUE = {
    "int": "a whole number",
    "float": "a number",
    "string": "text (quote it if YAML reads it as something else)",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "finite": "a finite number",
}
_BOUNDS = {
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
}


def show(value: Any, limit: int = 80) -> str:
    """A value as a user would write it, cut to a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def listed(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names)


def nearest(given: Any, allowed: Iterable[Any]) -> str:
    """`; did you mean "X"?`, or nothing when no allowed name is near."""
    names = {str(name).lower(): str(name) for name in allowed}
    close = difflib.get_close_matches(str(given).lower(), list(names), n=1, cutoff=0.6)
    return f'; did you mean "{names[close[0]]}"?' if close else ""


def unknown(what: str, given: Any, allowed: Iterable[Any]) -> str:
    """The message for a name that is none of the allowed ones."""
    allowed = list(allowed)
    return f"unknown {what} {show(given)}; allowed: {listed(allowed)}{nearest(given, allowed)}"


def explain(error: ErrorDetails) -> str:
    """One pydantic error in our words, without its place."""
    kind, ctx = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(ctx["error"])
    if kind == "missing":
        return "is missing"
    got = f"got {show(error['input'])}"
    if kind == "literal_error":
        allowed = [word.strip("' ") for word in str(ctx["expected"]).replace(" or ", ", ").split(",")]
        return f"{got}; allowed: {listed(allowed)}{nearest(error['input'], allowed)}"
    if kind in _BOUNDS:
        limits = {name: format(limit, "g") for name, limit in ctx.items()}
        return f"{got}; it must be {_BOUNDS[kind].format(**limits)}"
    if kind == "too_short":
        return f"{got}; it needs at least {ctx['min_length']} entry"
    if kind == "string_too_short":
        return f"{got}; it must not be empty"
    if kind == "string_pattern_mismatch":
        return f"{got}; it must match {ctx['pattern']}"
    expected = _KINDS_OF_VALUE.get(kind.split("_")[0])
    return f"{got}; it must be {expected}" if expected else f"{got}; {error['msg'][0].lower()}{error['msg'][1:]}"
