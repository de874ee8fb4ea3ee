"""Reads grids: a file, a text or a stored document, with `--set` applied and every value checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.errors import GridError
from jobs.grid.check import check
from jobs.grid.document import Document, read_yaml
from jobs.grid.load import SHIPPED, find_grid
from jobs.grid.model import Grid
from jobs.grid.override import override


def read_grid(name_or_path: str | Path, sets: Sequence[str] = ()) -> Grid:
    """The checked grid of a shipped name or a YAML path, with `axis=values` overrides.

    Raises:
        GridError: no such grid, or one that does not make sense; the message says where and what to do.
    """
    path = find_grid(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise GridError(f"{name_or_path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise GridError(f"{name_or_path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    return parse_grid(text, path.name if path.parent == SHIPPED else str(name_or_path), sets)


def parse_grid(text: str, source: str, sets: Sequence[str] = ()) -> Grid:
    """The checked grid in a YAML text; `source` names it in messages."""
    document = read_yaml(text, source)
    for argument in sets:
        override(document, argument, source)
    return check(document, source, overridden=tuple(sets))


def grid_of(document: Mapping[str, Any], source: str) -> Grid:
    """The checked grid of a plan's `document`, which has gone through `--set` before."""
    return check(Document(dict(document)), source, overridden=("the values it was run with",))
