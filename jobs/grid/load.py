"""Where grid files are: shipped by name, or a path."""

from __future__ import annotations

from pathlib import Path

from jobs.errors import GridError
from jobs.grid.messages import listed, nearest

SHIPPED = Path(__file__).resolve().parents[1] / "grids"


def shipped() -> dict[str, str]:
    """Name -> first line of description (the comment a file begins with) of each grid that comes with S2L."""
    return {path.stem: _first_comment(path) for path in sorted(SHIPPED.glob("*.yaml"))}


def find_grid(name_or_path: str | Path) -> Path:
    """The file of a grid.

    Raises:
        GridError: neither a file nor a shipped name.
    """
    given = Path(name_or_path)
    if given.is_file():
        return given
    if given.name == str(name_or_path) and given.name in shipped():
        return SHIPPED / f"{name_or_path}.yaml"
    names = list(shipped())
    what = "is a folder, not a grid file" if given.is_dir() else "no such grid"
    raise GridError(f"{name_or_path}: {what}; give a YAML path or a shipped name: {listed(names)}{nearest(name_or_path, names)}")


def shipped_profiles() -> dict[str, list[str]]:
    """Name -> profiles of each grid that comes with S2L, in the grid's order."""
    from jobs.grid.document import read_yaml
    from jobs.grid.profile import profile_names

    return {name: profile_names(read_yaml((SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"), name), name) for name in shipped()}


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
