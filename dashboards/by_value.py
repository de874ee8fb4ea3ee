"""How the change of AUC differs between the values of an axis that are no numbers (models, prompts): intervals side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dashboards import plots
from dashboards.drawings import Drawing, names_of, verdict_keys
from dashboards.groups import Group, Groups, with_role
from dashboards.places import Role, apart, axis_names
from dashboards.scale import is_number
from dashboards.sweeps import Sweep, group_value
from jobs.plan.plan import Plan

MAX_FOREST = 60
"""Intervals up to which a plot can be read."""


@dataclass(frozen=True)
class ByValue:
    """A section of the report: one forest for each attack, grouped by the axis's values."""

    axis: str
    drawings: list[Drawing]


def by_values(plan: Plan, groups: Groups, swept: Sequence[Sweep]) -> list[ByValue]:
    """One for each axis of words on which ways differ that no curve shows already."""
    shown = {way for sweep in swept for way in sweep.shown}
    left = {
        attack: [group for group in members if group.role != "no-shake" and group.way not in shown] for attack, members in groups.items()
    }
    found = [_by_value(plan, left, axis) for axis in axis_names(plan) if not apart(axis)]
    return [each for each in found if each is not None]


def _by_value(plan: Plan, groups: Groups, axis: str) -> ByValue | None:
    drawings = [drawing for attack, members in groups.items() if (drawing := _forest(plan, attack, members, axis)) is not None]
    return ByValue(axis, drawings) if drawings else None


def _forest(plan: Plan, attack: str, groups: Sequence[Group], axis: str) -> Drawing | None:
    """The ways that were tried with two values or more; None when there are none, or too many to read."""
    compared = {rest: found for rest, found in _alike(groups, axis).items() if len(found) > 1}
    used = {value for found in compared.values() for value in found}
    if not any(not is_number(value) for value in used) or sum(map(len, compared.values())) > MAX_FOREST:
        return None
    order = [value for group in groups if (value := group_value(group, axis)) in used]
    rows = [_interval(axis, rest, found[value]) for value in dict.fromkeys(order) for rest, found in compared.items() if value in found]
    if len(compared) == 1:
        rows = [replace(row, group=row.label, label=row.group) for row in rows]
    words = (
        f"The change of AUC under the {attack} attack for each {axis}, with its interval where there is one; the tables hold the numbers."
    )
    (name,) = names_of(("by", axis, attack))
    return Drawing(f"{attack} attack", words, name, f"By {axis}: {attack} attack", plots.forest(rows, width=3.9), verdict_keys(rows))


def _alike(groups: Sequence[Group], axis: str) -> dict[str, dict[Any, Group]]:
    """What is the same but for the axis -> value -> its group.

    A part that follows from the value (prompts of something else are a control) sets none apart: control and method stand side by side.
    """
    parts: dict[str, dict[Any, set[Role]]] = {}
    for group in (group for group in groups if group.place.setting(axis) is not None):
        parts.setdefault(group.place.without(axis), {}).setdefault(group_value(group, axis), set()).add(group.role)
    follows = {
        rest
        for rest, by_value in parts.items()
        if all(len(roles) == 1 for roles in by_value.values()) and len(set().union(*by_value.values())) > 1
    }
    alike: dict[str, dict[Any, Group]] = {}
    for group in (group for group in groups if group.place.setting(axis) is not None):
        rest = group.place.without(axis)
        alike.setdefault(rest if rest in follows else with_role(rest, group.role), {})[group_value(group, axis)] = group
    return alike


def _interval(axis: str, label: str, group: Group) -> plots.Interval:
    setting, summary = group.place.setting(axis), group.summary()
    assert setting is not None
    return plots.Interval(setting.words, label, summary.delta, summary.low, summary.high, summary.verdict)
