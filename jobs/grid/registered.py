"""The grids that a store remembers, planned again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from jobs.errors import InputError
from jobs.grid.inputs import Inputs
from jobs.grid.read import grid_of
from jobs.ledger.registry import Registered
from jobs.plan.expand import expand
from jobs.plan.plan import Plan


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
            plans.append(_plan(registered, inputs))
        except InputError as error:
            notice(f"the registered grid {registered['grid']} cannot be planned: {error}")
    return plans


@dataclass(frozen=True)
class Reach:
    """What registered grids ask for.

    Attributes:
        keys: of all stages of their plans.
        untold: a sentence for each grid of which nobody can tell what it reaches.
    """

    keys: frozenset[str]
    untold: tuple[str, ...]


def reach_of(grids: Iterable[Registered], *, inputs: Inputs | None = None) -> Reach:
    """What the grids reach, as they were registered: a grid that makes other trials by now counts as one that cannot be told."""
    keys: set[str] = set()
    untold = []
    for grid in grids:
        try:
            plan = plan_registered(grid, inputs=inputs)
        except InputError as error:
            untold.append(str(error))
            continue
        keys.update(node.key for node in plan.nodes())
    return Reach(frozenset(keys), tuple(untold))


def plan_registered(grid: Registered, *, inputs: Inputs | None = None) -> Plan:
    """The plan of one registered grid.

    Raises:
        jobs.errors.InputError: it cannot be planned any more, or means other trials than it did.
    """
    if grid.document is None:
        raise InputError(f"the document of the registered grid {grid.name} cannot be read")
    try:
        plan = _plan(grid.document, inputs)
    except (InputError, KeyError) as error:
        raise InputError(f"the registered grid {grid.name} cannot be planned any more: {error}") from None
    if plan.grid_key != grid.grid_key:
        raise InputError(
            f"the registered grid {grid.name} means other trials in this version of S2L (its key would be {plan.grid_key[:12]}...)"
        )
    return plan


def _plan(document: dict[str, Any], inputs: Inputs | None) -> Plan:
    return expand(grid_of(document["document"], f"grid {document['grid']}"), inputs=inputs)
