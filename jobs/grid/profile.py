"""Profiles: one grid in several sizes. A profile's sections are laid over the grid's, setting by setting, before `--set`."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from jobs.errors import GridError
from jobs.grid.document import Document
from jobs.grid.messages import listed, show, unknown
from jobs.grid.model import place

LAID_OVER = ("fixed", "axes", "zip", "by_method", "when", "include", "exclude")
"""The sections that a profile may have."""
Path = tuple[str | int, ...]


def profile_names(document: Document, source: str) -> list[str]:
    """The profiles of a grid in its order; the first is the default. Empty where the grid has none.

    Raises:
        GridError: the section is no mapping of names to mappings of sections.
    """
    section = document.value.get("profiles") if isinstance(document.value, dict) else None
    if section is None:
        return []

    def wrong(message: str, *path: str) -> GridError:
        return GridError(f"{place(source, document.lines, ('profiles', *path))}: {message}")

    if not isinstance(section, dict) or not section:
        raise wrong(f"got {show(section)}; profiles is a mapping of names to sections ({listed(LAID_OVER)})")
    for name, sections in section.items():
        if not (name.isascii() and name.replace("-", "").isalnum()):
            raise wrong(f"got the name {show(name)}; letters, digits and dashes are allowed", name)
        if not isinstance(sections, dict):
            raise wrong(f"got {show(sections)}; a profile is a mapping with {listed(LAID_OVER)}", name)
        for key in sections:
            if key not in LAID_OVER:
                raise wrong(unknown("key of a profile", key, LAID_OVER), name, key)
    return list(section)


def choose(names: list[str], asked: str | None, source: str) -> str | None:
    """The profile to take: the one asked for, else the first.

    Raises:
        GridError: there is no such profile.
    """
    if asked is None:
        return next(iter(names), None)
    if not names:
        raise GridError(f"--profile {asked}: {source} has no profiles; leave the option out")
    if asked not in names:
        raise GridError(f"--profile {asked}: {unknown(f'profile of {source}', asked, names)}")
    return asked


def with_profile(document: Document, profile: str, source: str) -> Document:
    """The grid under one of its profiles: a document without profiles, whose name ends in the profile's unless that is the default.

    A setting that the profile gives under `fixed` or `axes` gives way there in the grid; the profile's `zip` takes the grid's place; its
    `include` and `exclude` come after the grid's.

    Raises:
        GridError: the profile gives one setting of a zip group of the grid.
    """
    top = deepcopy(document.value)
    profiles = top.pop("profiles")
    laid = _Laid(top, document.lines, ("profiles", profile), source)
    for section, value in sorted(profiles[profile].items(), key=lambda item: item[0] != "zip"):
        laid.lay(section, value)
    if profile != next(iter(profiles)) and isinstance(top.get("name"), str):
        top["name"] = f"{top['name']}-{profile}"
    return Document(top, laid.lines)


class _Laid:
    """Lays sections of a profile over a grid, and their lines with them, so that messages name the right line."""

    def __init__(self, top: dict[str, Any], lines: dict[Path, int | str], origin: Path, source: str) -> None:
        self.top, self.source, self.origin, self._written = top, source, origin, lines
        self.lines = {path: line for path, line in lines.items() if path[:1] != ("profiles",)}

    def lay(self, section: str, value: Any) -> None:
        own = self.top.get(section)
        if section in ("include", "exclude") and isinstance(own, list) and isinstance(value, list):
            for number, point in enumerate(value):
                own.append(point)
                self._move((section, number), (section, len(own) - 1))
        elif section in ("fixed", "axes", "when", "by_method") and isinstance(own, dict | None) and isinstance(value, dict):
            for name, one in value.items():
                self._setting(section, name, one)
        else:
            for name in _zipped(value) if section == "zip" else ():
                self._take_away(name)
            self._put((section,), value)

    def _setting(self, section: str, name: str, value: Any) -> None:
        if section in ("fixed", "axes"):
            self._take_away(name)
            if name in _zipped(self.top.get("zip")):
                where = place(self.source, self._written, (*self.origin, section, name))
                raise GridError(f"{where}: {name} moves together with others in a zip group; give the whole group under the profile's zip")
        own = self.top.setdefault(section, {}) or {}
        self.top[section] = own
        if section == "by_method" and isinstance(own.get(name), dict) and isinstance(value, dict):
            for setting, one in value.items():
                self._put((section, name, setting), one)
        else:
            self._put((section, name), value)

    def _put(self, path: Path, value: Any) -> None:
        holder: Any = self.top
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = value
        self._forget(path)
        self._move(path, path)

    def _take_away(self, name: str) -> None:
        for section in ("fixed", "axes"):
            if isinstance(self.top.get(section), dict):
                self.top[section].pop(name, None)
                self._forget((section, name))

    def _forget(self, path: Path) -> None:
        for known in [known for known in self.lines if known[: len(path)] == path]:
            del self.lines[known]

    def _move(self, path: Path, to: Path) -> None:
        """The lines of what stands at a path of the profile."""
        start = (*self.origin, *path)
        self.lines |= {(*to, *known[len(start) :]): line for known, line in self._written.items() if known[: len(start)] == start}


def _zipped(section: Any) -> set[str]:
    groups = section if isinstance(section, list) else [section]
    return {name for group in groups if isinstance(group, dict) for name in group}
