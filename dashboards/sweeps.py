"""How the change of AUC depends on an axis of numbers: a plot and a table for each attack, one line for each way that is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards import curves
from dashboards.drawings import Drawing, Key, names_of
from dashboards.groups import Group, Groups, Summary, Way, with_role
from dashboards.places import Place, apart, axis_names, places
from dashboards.plots import LINE_COLORS
from dashboards.scale import Scale, is_number, number_words, scale_of
from dashboards.words import listed, short
from jobs.keys import canonical_json
from jobs.plan.plan import Plan

ENOUGH = 3
"""Numbers on an axis from which on a line says more than the rows do."""
MAX_LINES = 12
MAX_LABEL = 18
"""Longer labels would take the plot's room: numbers stand in the plot then, and their meaning in the legend."""


@dataclass(frozen=True)
class SweepRow:
    """A row of a sweep's table: one way at one value of the axis."""

    value: str
    summary: Summary


@dataclass(frozen=True)
class SweepPanel:
    """One attack along the axis.

    Attributes:
        beyond: the lines that lie outside of the plot, in words.
        table: (way, its rows).
    """

    attack: str
    drawing: Drawing
    beyond: str
    table: list[tuple[str, list[SweepRow]]]


@dataclass(frozen=True)
class LegendEntry:
    """A line's name, the number of its colour, its shape, and the number that stands at its end, if numbers do."""

    label: str
    color: int
    mark: str
    number: str


@dataclass(frozen=True)
class Sweep:
    """A section of the report.

    Attributes:
        words: what a point is, what moves along with the axis, and what is left out.
        shown: the ways that are in it.
    """

    axis: str
    words: str
    legend: list[LegendEntry]
    panels: list[SweepPanel]
    shown: frozenset[Way]


def sweeps(plan: Plan, groups: Groups) -> list[Sweep]:
    """One for each axis of three numbers or more, in the grid's order; axes that move together are one."""
    where = list(places(plan).values())
    found: list[Sweep] = []
    drawn: list[tuple[str, list[str]]] = []
    for axis in axis_names(plan):
        if apart(axis):
            continue
        along = _companions(axis, where)
        if any(axis in others and first in along for first, others in drawn):
            continue
        sweep = _Builder(plan, groups, axis, along).sweep()
        if sweep is not None:
            found.append(sweep)
            drawn.append((axis, along))
    return found


def _companions(axis: str, where: Iterable[Place]) -> list[str]:
    """Axes whose value follows from this one's, for every method: zipped axes, as a rule."""
    values: dict[str, dict[tuple[str, str, str], set[str]]] = {}
    for place in where:
        own = place.setting(axis)
        if own is not None:
            for setting in place.settings:
                key = (place.role, place.method, canonical_json(own.value))
                values.setdefault(setting.name, {}).setdefault(key, set()).add(canonical_json(setting.value))
    return [
        name
        for name, by_value in values.items()
        if name != axis and all(len(each) == 1 for each in by_value.values()) and len(set().union(*by_value.values())) > 1
    ]


class _Builder:
    """The section of one axis. A line is a way without the axis, and without those that move along with it."""

    def __init__(self, plan: Plan, groups: Groups, axis: str, along: list[str]) -> None:
        self.axis, self.along = axis, along
        self.lines = {attack: self._lines(members) for attack, members in groups.items()}
        self.values = [value for value in plan.axes.get(axis, []) if value is not None]

    def sweep(self) -> Sweep | None:
        ways = [way for way in dict.fromkeys(way for lines in self.lines.values() for way in lines) if self._is_swept(way)]
        shown = ways[:MAX_LINES]
        if not shown:
            return None
        used = {group_value(group, self.axis) for lines in self.lines.values() for way in shown for group in lines.get(way, [])}
        scale = scale_of([value for value in self.values if value in used] + sorted(used - set(self.values), key=str))
        names = dict(zip(shown, self._names(shown), strict=True))
        labels = _labels(list(names.values()))
        panels = [
            self._panel(attack, {way: lines[way] for way in shown if way in lines}, names, labels, scale)
            for attack, lines in self.lines.items()
            if any(way in lines for way in shown)
        ]
        return Sweep(self.axis, self._words(shown, len(ways), scale), _legend(names, labels), panels, frozenset(self._variants(shown)))

    def _lines(self, groups: Iterable[Group]) -> dict[Way, list[Group]]:
        lines: dict[Way, list[Group]] = {}
        for group in groups:
            if group.role != "no-shake" and group.place.setting(self.axis) is not None:
                lines.setdefault((group.role, group.place.without(self.axis, *self.along)), []).append(group)
        return lines

    def _is_swept(self, way: Way) -> bool:
        return any(
            len({value for group in lines.get(way, []) if is_number(value := group_value(group, self.axis))}) >= ENOUGH
            for lines in self.lines.values()
        )

    def _variants(self, shown: Sequence[Way]) -> set[Way]:
        return {group.way for lines in self.lines.values() for way in shown for group in lines.get(way, [])}

    # --- names ---

    def _names(self, ways: Sequence[Way]) -> list[str]:
        """What tells the lines apart: the method where it differs, the settings that differ, the part where it is a control's."""
        first = {way: self._place(way) for way in ways}
        methods = {place.method for place in first.values()}
        settings = {way: {setting.name: setting.words for setting in place.settings} for way, place in first.items()}
        varying = [
            name
            for name in dict.fromkeys(name for told in settings.values() for name in told)
            if name not in (self.axis, *self.along) and len({told.get(name) for told in settings.values()}) > 1
        ]
        names = []
        for way in ways:
            words = [first[way].method] if len(methods) > 1 else []
            words += [settings[way][name] for name in varying if name in settings[way]]
            names.append(with_role(", ".join(words or [first[way].method]), way[0]))
        return names

    def _place(self, way: Way) -> Place:
        return next(lines[way][0].place for lines in self.lines.values() if way in lines)

    def _words(self, shown: Sequence[Way], ways: int, scale: Scale) -> str:
        summaries = [group.summary() for lines in self.lines.values() for way in shown for group in lines.get(way, [])]
        pooled = {summary.how for summary in summaries if summary.how.startswith("pooled")}
        told = []
        if any(summary.low is not None for summary in summaries):
            what = f"{listed(sorted(pooled))}, " if pooled else ""
            told.append(f"Each point is the change of AUC, {what}with its 95 % interval.")
        if any(summary.low is None for summary in summaries):
            told.append("Thin lines are single trials; the thick line is their mean, which has no interval of its own.")
        if len(shown) == 1:
            told.append(f"All with {shown[0][1]}.")
        if self.along:
            told.append(f"Along with {self.axis} moves {listed(self.along)}.")
        zero = [value for value in scale.detached if is_number(value)]
        told += ["Zero has no place on a logarithmic axis and stands beside it."] if zero else []
        told += [f"{ways - len(shown)} further lines are left out; the tables below hold them."] if ways > len(shown) else []
        return " ".join(told)

    # --- one attack ---

    def _panel(
        self, attack: str, lines: Mapping[Way, list[Group]], names: Mapping[Way, str], labels: list[str], scale: Scale
    ) -> SweepPanel:
        ordered = {way: sorted(lines.get(way, []), key=lambda group: scale.at[group_value(group, self.axis)]) for way in names}
        drawn = [self._line(way, ordered[way]) for way in names]
        figure = curves.sweep(drawn, scale, axis=self.axis, labels=labels)
        (name,) = names_of(("sweep", self.axis, attack))
        heading, told = f"How it depends on {self.axis}: {attack} attack", self._told(attack, ordered, names)
        drawing = Drawing(f"{attack} attack", told, name, heading, figure, _keys(_legend(names, labels), drawn))
        outside = [list(names.values())[index] for index in curves.beyond(drawn)]
        beyond = f"outside of the plot: {listed(outside)}" if outside else ""
        return SweepPanel(attack, drawing, beyond, [(names[way], self._rows(groups)) for way, groups in ordered.items() if groups])

    def _line(self, way: Way, groups: Sequence[Group]) -> curves.SweepLine:
        points, thin = [], dict[str, list[curves.Point]]()
        for group in groups:
            value, summary = group_value(group, self.axis), group.summary()
            points.append(curves.Point(value, summary.delta, summary.low, summary.high))
            for line in group.lines if summary.low is None else []:
                thin.setdefault(line.name, []).append(curves.Point(value, float(line.auc["delta"])))
        return curves.SweepLine(points, list(thin.values()), control=way[0] != "method")

    def _rows(self, groups: Sequence[Group]) -> list[SweepRow]:
        return [SweepRow(f"{self.axis} {number_words(group_value(group, self.axis))}", group.summary()) for group in groups]

    def _told(self, attack: str, ordered: Mapping[Way, Sequence[Group]], names: Mapping[Way, str]) -> str:
        """The plot in words, for readers without eyes."""
        told = []
        for way, groups in ordered.items():
            if groups:
                ends = [
                    f"{short(group.summary().delta)} at {number_words(group_value(group, self.axis))}" for group in (groups[0], groups[-1])
                ]
                told.append(f"{names[way]}: {ends[0]} to {ends[1]}")
        return f"Change of AUC under the {attack} attack against {self.axis}. {'; '.join(told)}. The table holds all numbers."


def group_value(group: Group, axis: str) -> Any:
    """A group's value on an axis, in a form that can be looked up."""
    setting = group.place.setting(axis)
    value = None if setting is None else setting.value
    return canonical_json(value) if isinstance(value, list | dict) else value


def _labels(names: Sequence[str]) -> list[str]:
    """What stands at the lines' ends: nothing where colours tell few lines apart, names where there is room, else numbers."""
    if len(names) <= len(LINE_COLORS):
        return []
    return list(names) if max(map(len, names)) <= MAX_LABEL else [str(number) for number in range(1, len(names) + 1)]


def _keys(legend: Sequence[LegendEntry], lines: Sequence[curves.SweepLine]) -> tuple[Key, ...]:
    """The legend where the figure stands alone."""
    return tuple(
        Key(f"{entry.number} {entry.label}".strip(), LINE_COLORS[entry.color], curves.SHAPES[place % len(curves.SHAPES)], line.control)
        for place, (entry, line) in enumerate(zip(legend, lines, strict=False))
    )


def _legend(names: Mapping[Way, str], labels: Sequence[str]) -> list[LegendEntry]:
    numbered = bool(labels) and labels[0] == "1"
    if len(names) < 2 or (labels and not numbered):
        return []
    return [
        LegendEntry(name, index % len(LINE_COLORS), curves.MARKS[index % len(curves.MARKS)], labels[index] if numbered else "")
        for index, name in enumerate(names.values())
    ]
