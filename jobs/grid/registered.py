"""The grids that a store remembers, planned again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from jobs.errors import InputError
from jobs.expand import expand
from jobs.grid.inputs import Inputs
from jobs.grid.read import grid_of
from jobs.plan import Plan


class Registry(Protocol):
    """The part of a ledger that remembers grids."""

    def grids(self) -> list[dict[str, Any]]:
        """One document per registered grid, with `grid`, `grid_key` and `document` (a plan's)."""
        ...


def plans_of(ledger: Registry, *, inputs: Inputs | None = None, notice: Callable[[str], None] = lambda text: None) -> list[Plan]:
    """The plan of every registered grid; one whose inputs are gone is left out, and `notice` is told why."""
    plans = []
    for registered in ledger.grids():
        try:
            plans.append(expand(grid_of(registered["document"], f"grid {registered['grid']}"), inputs=inputs))
        except InputError as error:
            notice(f"the registered grid {registered['grid']} cannot be planned: {error}")
    return plans
