"""From a grid to its points: the product of the axes under the conditions, minus `exclude`, plus `include`."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jobs.errors import GridError
from jobs.grid.by_method import settle
from jobs.grid.messages import listed
from jobs.grid.model import FIELDS, POSITION, Grid, Named, Point, label
from jobs.grid.values import read_value

MAX_POINTS = 1_000_000
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Rows:
    """Points of a grid as rows with one value per field, in the order of `FIELDS`.

    Attributes:
        axes: the fields in which trials may differ, in the grid's order.
        rows: the points and, for each, the fields it was given by axes or `include` rather than by `fixed` or a default; a
            conditional field is not given where its condition does not hold.
    """

    axes: tuple[str, ...]
    rows: list[tuple[Row, frozenset[str]]]
    notices: list[str]


@cache
def defaults() -> Mapping[str, Any]:
    """Field -> canonical default, None for what every grid must give."""
    values = {}
    for name, info in Point.model_fields.items():
        default = None if info.is_required() else info.default
        values[name] = None if default is None else read_value(name, list(default) if isinstance(default, tuple) else default)
    return values


def base_row(grid: Grid) -> list[Any]:
    """Fixed values and defaults, in the order of `FIELDS`."""
    return [{**defaults(), **grid.fixed}[name] for name in FIELDS]


def points(grid: Grid) -> Rows:
    """All points of a grid, each once.

    Raises:
        GridError: nothing is left, a point is given twice, or an `exclude` or `when` that never matches.
    """
    spread = _Spread(grid)
    notices: list[str] = []
    product = _exclude(grid, list(spread.rows({})) if spread.dimensions or not grid.include else [], notices)
    explicit = frozenset(spread.names)
    rows = {row: explicit - _absent(grid, row, ()) for row in product} if grid.when else dict.fromkeys(product, explicit)
    for number, point in enumerate(grid.include):
        named = explicit | frozenset(point)
        for row in spread.rows(point, number):
            if row in rows:
                raise GridError(
                    f"{grid.place('include', number)}: the point {_told(row, (*spread.names, *point))} is in the grid already; leave it out"
                )
            rows[row] = named - _absent(grid, row, point)
    if not rows:
        raise GridError(f"{grid.place('exclude')}: no trial is left; exclude fewer points")
    _check_conditions(grid, rows, notices)
    extra = dict.fromkeys(name for point in grid.include for name in point if name not in spread.names)
    return Rows((*spread.names, *extra), list(rows.items()), notices)


class _Spread:
    """The product of a grid's axes; conditional axes come last and vary fastest."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.defaults = defaults()
        self.base = base_row(grid)
        free = [name for name in grid.axes if name not in grid.when]
        self.dimensions: list[tuple[tuple[str, ...], list[tuple[Any, ...]]]] = [
            ((name,), [(value,) for value in grid.axes[name]]) for name in free
        ]
        self.dimensions += [(tuple(group), list(zip(*group.values(), strict=True))) for group in grid.zips]
        self.names = (*grid.axes, *(name for group in grid.zips for name in group))
        self.conditional = _in_order(grid)

    def rows(self, given: Mapping[str, tuple[Any, ...]], number: int = 0) -> Iterator[Row]:
        """The product; `given` fields take the given values instead of the grid's, whatever their condition says."""
        dimensions = []
        for names, values in self.dimensions:
            named = [name for name in names if name in given]
            if named and len(named) < len(names):
                rest = listed(name for name in names if name not in given)
                raise GridError(f"{self.grid.place('include', number)}: {listed(named)} moves together with {rest}; give all of them")
            if not named:
                dimensions.append((names, values))
        dimensions += [((name,), [(value,) for value in values]) for name, values in given.items()]
        self._check_size(dimensions)
        positions = [POSITION[name] for names, _ in dimensions for name in names]
        conditional = [name for name in self.conditional if name not in given]
        for combination in itertools.product(*(values for _, values in dimensions)):
            row = self.base.copy()
            for position, value in zip(positions, itertools.chain.from_iterable(combination), strict=True):
                row[position] = value
            if self.grid.by_method:
                settle(self.grid, row, given)
            yield from self._with_conditional(row, conditional) if conditional else (tuple(row),)

    def _check_size(self, dimensions: Iterable[tuple[tuple[str, ...], list[Any]]]) -> None:
        size = 1
        for _, values in dimensions:
            size *= len(values)
        if size > MAX_POINTS:
            raise GridError(
                f"{self.grid.place('axes')}: the product has {size:,} points; at most {MAX_POINTS:,}. Split the grid or shorten its axes"
            )

    def _with_conditional(self, row: list[Any], names: list[str]) -> Iterator[Row]:
        if not names:
            yield tuple(row)
            return
        name, rest = names[0], names[1:]
        condition = self.grid.when[name]
        values = self.grid.axes.get(name, (row[POSITION[name]],)) if _holds(condition, row) else (self.defaults[name],)
        for value in values:
            changed = row.copy()
            changed[POSITION[name]] = value
            yield from self._with_conditional(changed, rest)


def as_method(grid: Grid, row: Row, given: Collection[str], method: Named) -> Row:
    """The point as it would be with another method: with that method's own settings, and its conditions asked anew.

    Args:
        given: fields that an axis or an `include` gave the point.

    Raises:
        GridError: the grid varies a setting for that method, and the point does not say which value is meant.
    """
    base = base_row(grid)
    changed = list(row)
    for name in (*grid.by_method.get(label(row[POSITION["method"]]), {}), *grid.when):
        if name not in given:
            changed[POSITION[name]] = base[POSITION[name]]
    changed[POSITION["method"]] = method
    settle(grid, changed, given)
    for name in _in_order(grid):
        if name not in given and not _holds(grid.when[name], changed):
            changed[POSITION[name]] = defaults()[name]
        elif name not in given and name in grid.axes:
            changed[POSITION[name]] = _only_value(grid, name, method)
    return tuple(changed)


def _only_value(grid: Grid, name: str, method: Named) -> Any:
    first, *more = grid.axes[name]
    if more:
        told = f"noise with `sigma: match` is as long as what {label(method)} changes, and which {name} it has there is not said"
        raise GridError(f"{grid.place('axes', name)}: {told}; give {name} in that point too: include: [{{{name}: ...}}]")
    return first


def _in_order(grid: Grid) -> list[str]:
    """Conditional fields, each after those its condition asks about."""
    names, ordered = list(grid.when), list[str]()
    while len(ordered) < len(names):
        ready = [name for name in names if name not in ordered and all(other in ordered or other not in names for other in grid.when[name])]
        if not ready:
            stuck = [name for name in names if name not in ordered]
            raise GridError(f"{grid.place('when', stuck[0])}: the conditions of {listed(stuck)} depend on each other in a circle")
        ordered += ready
    return ordered


def _exclude(grid: Grid, rows: list[Row], notices: list[str]) -> list[Row]:
    for number, point in enumerate(grid.exclude):
        wanted = [(POSITION[name], set(values)) for name, values in point.items()]
        kept = [row for row in rows if not all(row[position] in values for position, values in wanted)]
        if len(kept) == len(rows):
            never(grid, f"{grid.place('exclude', number)}: matches no point of the grid", notices)
        rows = kept
    return rows


def _absent(grid: Grid, row: Row, named: Collection[str]) -> frozenset[str]:
    """Conditional fields that a point has no value of; what an `include` names is there whatever its condition says."""
    return frozenset(name for name, condition in grid.when.items() if name not in named and not _holds(condition, row))


def _holds(condition: Mapping[str, tuple[Any, ...]], row: Sequence[Any]) -> bool:
    return all(row[POSITION[other]] in values for other, values in condition.items())


def _check_conditions(grid: Grid, rows: Iterable[Row], notices: list[str]) -> None:
    for name, condition in grid.when.items():
        if not any(_holds(condition, row) for row in rows):
            never(grid, f"{grid.place('when', name)}: holds for no point of the grid, so that {name} is never used", notices)


def never(grid: Grid, message: str, notices: list[str], *, remedy: str = "mend it or leave it out") -> None:
    """What matches nothing is a mistake, unless `--set` has narrowed the grid: then it is noted."""
    if not grid.overridden:
        raise GridError(f"{message}; {remedy}")
    notices.append(f"{message} after {listed(f'--set {argument}' for argument in grid.overridden)}")


def _told(row: Row, names: Iterable[str]) -> str:
    return listed(f"{name}={label(row[POSITION[name]])}" for name in dict.fromkeys(names))
