"""Reads grids: a file, a text or a stored document, with its profile and `--set` applied and every value checked."""

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
from jobs.grid.profile import choose, profile_names, with_profile


def read_grid(name_or_path: str | Path, sets: Sequence[str] = (), profile: str | None = None) -> Grid:
    """The checked grid of a shipped name or a YAML path, under a profile (its first when none is named), with `axis=values` overrides.

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
    return parse_grid(text, path.name if path.parent == SHIPPED else str(name_or_path), sets, profile)


def parse_grid(text: str, source: str, sets: Sequence[str] = (), profile: str | None = None) -> Grid:
    """The checked grid in a YAML text; `source` names it in messages. A mistake in any of its profiles is told, whichever is taken."""
    whole = read_yaml(text, source)
    names = profile_names(whole, source)
    chosen = choose(names, profile, source)
    for other in names:
        if other != chosen:
            check(with_profile(whole, other, source), source)
    document = with_profile(whole, chosen, source) if chosen is not None else whole
    for argument in sets:
        override(document, argument, source)
    return check(document, source, overridden=tuple(sets))


def grid_of(document: Mapping[str, Any], source: str) -> Grid:
    """The checked grid of a plan's `document`, which has gone through its profile and `--set` before."""
    return check(Document(dict(document)), source, overridden=("the values it was run with",))
