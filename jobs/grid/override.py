"""`--set axis=values`: replaces an axis's values or a fixed value, for every method; several values make an axis of a fixed setting."""

from __future__ import annotations

import re
from typing import Any

from jobs.errors import GridError
from jobs.grid.document import Document, read_yaml
from jobs.grid.messages import show, unknown
from jobs.grid.model import FIELDS, LIST_FIELDS

INSTEAD = {"steps": "epochs", "epochs": "steps"}
"""Two ways to say one thing: what is given with `--set` takes the place of the other in the file."""


def override(document: Document, argument: str, source: str) -> None:
    """Apply one `name=values` to the document in place. Values are comma-separated YAML scalars or flow values.

    Raises:
        GridError: no `=`, an unknown name, no value, or a name that the grid zips with others.
    """
    name, equals, text = argument.partition("=")
    name = name.strip()
    flag = f"--set {argument}"
    if not equals or not name:
        raise GridError(f"{flag}: got {show(argument)}; write --set axis=value or --set axis=value,value")
    if name not in FIELDS:
        raise GridError(f"{flag}: {unknown('setting', name, FIELDS)}")
    values = _values(text, flag)
    if not values:
        raise GridError(f"{flag}: no value is given; write --set {name}=value")
    top = document.value
    if isinstance(top, dict):
        if name in INSTEAD:
            _leave_out(document, INSTEAD[name])
        _apply(top, name, values, flag, source)
        _now_from(document, name, flag)


def _leave_out(document: Document, name: str) -> None:
    """Take a setting of the file out, in whose place another is given now; what `--set` gave stays, and is an error together."""
    top: dict[str, Any] = document.value
    for section in ("axes", "fixed"):
        settings = top.get(section)
        if isinstance(settings, dict) and name in settings and not isinstance(document.lines.get((section, name)), str):
            top[section] = {other: value for other, value in settings.items() if other != name}
    _leave_out_by_method(top, name)


def _leave_out_by_method(top: dict[str, Any], name: str) -> None:
    """What is given now holds for every method."""
    by_method = top.get("by_method")
    if isinstance(by_method, dict):
        kept = {
            method: {other: value for other, value in settings.items() if other != name} if isinstance(settings, dict) else settings
            for method, settings in by_method.items()
        }
        top["by_method"] = {method: settings for method, settings in kept.items() if settings}


def _values(text: str, flag: str) -> list[Any]:
    try:
        values = read_yaml(f"[{text}]", flag).value
    except GridError as error:
        raise GridError(re.sub(r":\d+: ", ": ", str(error), count=1)) from None
    return values if isinstance(values, list) else []


def _apply(top: dict[str, Any], name: str, values: list[Any], flag: str, source: str) -> None:
    axes, fixed, zips = (top.get(section) for section in ("axes", "fixed", "zip"))
    for group in zips if isinstance(zips, list) else [zips]:
        if isinstance(group, dict) and name in group:
            raise GridError(f"{flag}: {name} moves together with others in the zip group of {source}; edit the file instead")
    _leave_out_by_method(top, name)
    nested = any(isinstance(value, list) for value in values)
    if name in LIST_FIELDS and not nested:
        values = [values[0] if name == "sp_prompts" and len(values) == 1 else values]
    if isinstance(axes, dict) and name in axes:
        top["axes"] = {**axes, name: values}
    elif len(values) == 1:
        top["fixed"] = {**(fixed if isinstance(fixed, dict) else {}), name: values[0]}
    else:
        top["axes"] = {**(axes if isinstance(axes, dict) else {}), name: values}
        if isinstance(fixed, dict):
            top["fixed"] = {other: value for other, value in fixed.items() if other != name}


def _now_from(document: Document, name: str, flag: str) -> None:
    """Messages about the setting name the option, no longer the file."""
    for section in ("axes", "fixed"):
        for path in [path for path in document.lines if path[:2] == (section, name)]:
            del document.lines[path]
        document.lines[section, name] = flag
