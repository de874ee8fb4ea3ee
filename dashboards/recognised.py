"""Is this person in the training data? What all images of a domain together tell an attacker, by trial and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from dashboards.groups import Group, with_role
from dashboards.results import Cell
from dashboards.words import plural


@dataclass(frozen=True)
class Person:
    """The tests of one trial's members against its non-members; `before` and `after` as `metrics.json` holds them."""

    way: str
    name: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


def people(groups: Sequence[Group], cells: Mapping[str, Cell]) -> list[Person]:
    """One for each trial behind the rows of an attack, in their order."""
    shown = [(group, line) for group in groups if not group.condition for line in group.lines if line.key in cells]
    return [Person(with_role(group.variant, group.role), line.name, *_sides(cells[line.key])) for group, line in shown]


def _sides(cell: Cell) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    identity = cell.document["identity"]
    return identity["before"], identity["after"]


def in_a_sentence(found: Sequence[Cell]) -> str:
    """In the median over trials; more than all there are where a person is not recognised by all images together. Empty without trials."""
    if not found:
        return ""
    sides = [[cell.document["identity"][when] for cell in found] for when in ("before", "after")]
    before, after = (_needed([side["images_needed"] for side in each]) for each in sides)
    one, all_of = ([_percent([_at(side["recognised"], place) for side in each]) for each in sides] for place in (0, -1))
    return (
        f"With one image of a person, a test at 5 % tells that the person is in the training data in {one[0]} of tries before and "
        f"{one[1]} after; with all of them in {all_of[0]} and {all_of[1]} of trials. To do so in 80 % of tries it takes "
        f"{before} images before and {after} after (median over {plural(len(found), 'trial')} of methods)."
    )


def _at(recognised: Mapping[str, float], place: int) -> float:
    """The share at the smallest (0) or largest (-1) set; as text, the sizes lie in the order of letters: 8 comes after 64."""
    return recognised[sorted(recognised, key=int)[place]]


def _percent(shares: Sequence[float]) -> str:
    return f"{100 * sum(shares) / len(shares):.0f} %"


def _needed(counts: Sequence[int | None]) -> str:
    ordered = sorted(inf if count is None else count for count in counts)
    middle = ordered[len(ordered) // 2]
    return "more than all" if middle == inf else str(int(middle))
