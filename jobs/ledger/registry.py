"""The grids that a store remembers: which there are, and taking one off the list."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import InputError, NotFound
from jobs.ledger.paths import Paths
from jobs.store.protocol import ObjectStore

_SHOWN = 10


@dataclass(frozen=True)
class Registered:
    """A registered grid.

    Attributes:
        place: the object's name.
        document: what was saved of it; None when that cannot be read.
        modified: when it was registered, seconds since 1970 by the store's clock.
    """

    place: str
    grid: str
    grid_key: str
    document: dict[str, Any] | None
    modified: float = field(default=0.0, compare=False)

    @property
    def name(self) -> str:
        return f"{self.grid}@{self.grid_key}"


def names(store: ObjectStore) -> list[str]:
    """The names that registered grids have."""
    return sorted({entry.name.removeprefix(Paths.grids).partition("/")[0] for entry in store.list(Paths.grids)})


def registered_grids(store: ObjectStore, called: str = "") -> list[Registered]:
    """Every grid that is registered, or those of one name, by name and key, those that cannot be read too."""
    found = []
    for name, _, modified in sorted(store.list(f"{Paths.grids}{called}/" if called else Paths.grids)):
        grid, _, file = name.removeprefix(Paths.grids).partition("/")
        try:
            document = json.loads(store.get(name).data)
        except NotFound:
            continue  # unregistered while we look
        except (ValueError, RecursionError):
            document = None
        found.append(Registered(name, grid, file.removesuffix(".json"), document if isinstance(document, dict) else None, modified))
    return found


def named(grids: Iterable[Registered], wanted: str) -> list[Registered]:
    """The registered grids that `GRID` or `GRID@KEY` names; the beginning of a key will do.

    Raises:
        jobs.errors.InputError: there is none, or the key's beginning fits several.
    """
    grids = list(grids)
    grid, _, key = wanted.partition("@")
    found = [one for one in grids if one.grid == grid and one.grid_key.startswith(key)]
    if not found:
        known = [f"{one.grid}@{one.grid_key[:12]}" for one in grids]
        told = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
        raise InputError(f"no registered grid is called {wanted}; registered in this store: {told or 'none'}")
    if key and len(found) > 1:
        raise InputError(f"{wanted} fits {len(found)} registered grids; give more of the key: {', '.join(one.name for one in found)}")
    return found
