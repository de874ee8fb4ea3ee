"""From a document to a grid: every key known, every value of its type, nothing empty, nothing twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.errors import GridError
from jobs.grid.applies import lacking
from jobs.grid.document import Document
from jobs.grid.messages import listed, show, unknown
from jobs.grid.model import FIELDS, LIST_FIELDS, REQUIRED, Grid, Named, Point, label, place
from jobs.grid.read_spec import read_spec
from jobs.grid.values import read_value
from jobs.policy import RetryPolicy

SECTIONS = ("name", "fixed", "axes", "zip", "by_method", "when", "include", "exclude", "retry", "profiles")
NAME = re.compile("[A-Za-z0-9][A-Za-z0-9-]{0,63}")
SYNONYMS = {
    "learning_rate": "lr",
    "batch_size": "batch",
    "max_train_steps": "steps",
    "identity": "domain",
    "person": "domain",
    "dataset": "data",
    "lora_rank": "rank",
    "lora_alpha": "alpha",
}
Path = tuple[str | int, ...]


def check(document: Document, source: str, *, overridden: tuple[str, ...] = ()) -> Grid:
    """The checked grid.

    Raises:
        GridError: naming file, line and path, what was given, what is allowed and the nearest spelling.
    """
    return _Checker(document, source).grid(overridden)


class _Checker:
    def __init__(self, document: Document, source: str) -> None:
        self.document, self.source = document, source
        self._named: dict[tuple[str, Any], tuple[Any, Path]] = {}

    def grid(self, overridden: tuple[str, ...]) -> Grid:
        top = self.document.value
        if not isinstance(top, dict):
            raise GridError(f"{self.source}: a grid file is a mapping with the keys {listed(SECTIONS)}; got {show(top)}")
        for key in top:
            if key not in SECTIONS:
                hint = f"; {key} is a setting: write it under fixed or axes" if key in FIELDS else ""
                raise self.error((key,), unknown("key", key, SECTIONS) + hint)
        grid = Grid(
            name=self._name(top),
            source=self.source,
            fixed=self._fixed(top),
            axes=self._axes(self._mapping(top, "axes"), ("axes",)),
            zips=tuple(self._zips(top)),
            when=self._when(top),
            include=tuple(self._points(top, "include")),
            exclude=tuple(self._points(top, "exclude")),
            by_method=self._by_method(top),
            retry=self._retry(top),
            document=top,
            lines=self.document.lines,
            overridden=overridden,
        )
        self._check_once(grid)
        self._check_required(grid)
        self._check_when(grid)
        self._check_by_method(grid)
        return grid

    def error(self, path: Path, message: str) -> GridError:
        return GridError(f"{place(self.source, self.document.lines, path)}: {message}")

    # --- sections ---

    def _name(self, top: Mapping[str, Any]) -> str:
        name = top.get("name")
        if name is None:
            raise GridError(f"{self.source}: name is missing; a grid has a name of letters, digits and dashes")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            suggestion = re.sub("[^A-Za-z0-9]+", "-", str(name)).strip("-")[:64]
            raise self.error(
                ("name",), f'got {show(name)}; letters, digits and dashes are allowed (at most 64); try "{suggestion or "my-grid"}"'
            )
        return name

    def _fixed(self, top: Mapping[str, Any]) -> dict[str, Any]:
        fixed = self._mapping(top, "fixed")
        result = {}
        for name, raw in fixed.items():
            self._field(name, ("fixed", name))
            if isinstance(raw, list) and name not in LIST_FIELDS:
                raise self.error(("fixed", name), f"got the list {show(raw)}; a fixed setting has one value: move {name} to axes")
            result[name] = self._value(name, raw, ("fixed", name))
        return result

    def _by_method(self, top: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        result: dict[str, dict[str, Any]] = {}
        for method, settings in self._mapping(top, "by_method").items():
            path: Path = ("by_method", method)
            if not isinstance(settings, dict) or not settings:
                raise self.error(path, f"got {show(settings)}; give a mapping of settings to values, such as {{lr: 1e-4}}")
            result[method] = {}
            for name, raw in settings.items():
                self._field(name, (*path, name))
                if isinstance(raw, list) and name not in LIST_FIELDS:
                    raise self.error((*path, name), f"got the list {show(raw)}; one value a method: move {name} to axes, under a condition")
                result[method][name] = self._value(name, raw, (*path, name))
        return result

    def _axes(self, axes: Mapping[str, Any], path: Path) -> dict[str, tuple[Any, ...]]:
        result = {}
        for name, raw in axes.items():
            self._field(name, (*path, name))
            if not isinstance(raw, list):
                raise self.error((*path, name), f"got {show(raw)}; an axis is a list of values: [{raw}], or move {name} to fixed")
            result[name] = self._values(name, raw, (*path, name), unique=path == ("axes",))
        return result

    def _zips(self, top: Mapping[str, Any]) -> Iterator[dict[str, tuple[Any, ...]]]:
        section = top.get("zip")
        groups = section if isinstance(section, list) else [] if section is None else [section]
        for number, group in enumerate(groups):
            path: Path = ("zip", number) if isinstance(section, list) else ("zip",)
            if not isinstance(group, dict) or not group:
                raise self.error(path, f"got {show(group)}; a zip group is a mapping of settings to lists that move together")
            read = self._axes(group, path)
            lengths = {name: len(values) for name, values in read.items()}
            if len(read) < 2:
                raise self.error(path, f"a zip group needs two settings or more; got {listed(read)}: write it under axes")
            if len(set(lengths.values())) > 1:
                told = listed(f"{name} has {length}" for name, length in lengths.items())
                raise self.error(path, f"the lists of a zip group must be equally long; {told}")
            rows = list(zip(*read.values(), strict=True))
            twice = next((position for position, row in enumerate(rows) if row in rows[:position]), None)
            if twice is not None:
                raise self.error(path, f"entry {twice + 1} of the zip group repeats entry {rows.index(rows[twice]) + 1}; leave one out")
            yield read

    def _when(self, top: Mapping[str, Any]) -> dict[str, dict[str, tuple[Any, ...]]]:
        result = {}
        for name, condition in self._mapping(top, "when").items():
            self._field(name, ("when", name))
            if not isinstance(condition, dict) or not condition:
                example = "{method: [lora, lora+dreambooth]}"
                raise self.error(
                    ("when", name), f"got {show(condition)}; a condition is a mapping of settings to values, such as {example}"
                )
            result[name] = {field: self._one_or_many(field, raw, ("when", name, field)) for field, raw in condition.items()}
        return result

    def _points(self, top: Mapping[str, Any], section: str) -> Iterator[dict[str, tuple[Any, ...]]]:
        points = top.get(section)
        if points is None:
            return
        if not isinstance(points, list):
            raise self.error((section,), f"got {show(points)}; {section} is a list of mappings")
        for number, point in enumerate(points):
            if not isinstance(point, dict) or not point:
                raise self.error((section, number), f"got {show(point)}; an {section} point is a mapping of settings to values")
            yield {name: self._one_or_many(name, raw, (section, number, name)) for name, raw in point.items()}

    def _retry(self, top: Mapping[str, Any]) -> RetryPolicy:
        policies = {}
        for name, raw in self._mapping(top, "retry").items():
            if name not in RetryPolicy.model_fields:
                raise self.error(("retry", name), unknown("class of failure", name, RetryPolicy.model_fields))
            try:
                policies[name] = read_spec(type(getattr(RetryPolicy(), name)), raw, name)
            except ValueError as error:
                raise self.error(("retry", name), str(error)) from None
        return RetryPolicy(**policies)

    # --- values ---

    def _mapping(self, top: Mapping[str, Any], section: str) -> dict[str, Any]:
        value = top.get(section)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error((section,), f"got {show(value)}; {section} is a mapping")
        return value

    def _field(self, name: str, path: Path) -> None:
        if name not in FIELDS:
            meant = f"; here it is called {SYNONYMS[name]}" if name in SYNONYMS else ""
            raise self.error(path, unknown("setting", name, FIELDS) + meant)

    def _value(self, name: str, raw: Any, path: Path) -> Any:
        value = self._read(name, raw, path)
        if isinstance(value, Named):
            self._check_name(name, value, path)
        return value

    def _check_name(self, field: str, named: Named, path: Path) -> None:
        """One name means one thing in a grid: tables, and what is worked out once for each name, rely on it."""
        parts = named.value if field == "attacks" else {named.label: named.value}
        for name, value in parts.items():
            known, place_of_first = self._named.setdefault((field.removeprefix("match_"), name), (value, path))
            if known != value:
                first = place(self.source, self.document.lines, place_of_first)
                raise self.error(path, f"{show(name)} means something else than at {first}; give one of them another `name`")

    def _read(self, name: str, raw: Any, path: Path) -> Any:
        try:
            return read_value(name, raw)
        except ValueError as error:
            entry = re.match(r"\[(\d+)\](\.\w+)*(: )?", str(error))
            if entry is None:
                raise self.error(path, str(error)) from None
            at = place(self.source, self.document.lines, (*path, int(entry[1])))
            raise GridError(f"{at}{entry[2] or ''}: {str(error)[entry.end() :]}") from None

    def _values(self, name: str, raw: list[Any], path: Path, *, unique: bool) -> tuple[Any, ...]:
        if not raw:
            raise self.error(path, f"the list of {name} is empty; give it a value or leave it out")
        values = [self._value(name, one, (*path, number)) for number, one in enumerate(raw)]
        if unique and len(set(values)) < len(values):
            number = next(number for number, value in enumerate(values) if value in values[:number])
            raise self.error((*path, number), f"{show(raw[number])} is given twice; leave one out")
        return tuple(values)

    def _one_or_many(self, name: str, raw: Any, path: Path) -> tuple[Any, ...]:
        self._field(name, path)
        many = isinstance(raw, list) and (name not in LIST_FIELDS or any(isinstance(one, list) for one in raw))
        return self._values(name, raw, path, unique=True) if many else (self._value(name, raw, path),)

    # --- what only the whole can tell ---

    def _check_once(self, grid: Grid) -> None:
        seen: dict[str, str] = {}
        sections = [("axes", grid.axes), *(("zip", group) for group in grid.zips), ("fixed", grid.fixed)]
        for section, names in sections:
            for name in names:
                if name in seen:
                    raise self.error((section, name), f"{name} is given under {seen[name]} too; keep one of them")
                seen[name] = section

    def _check_required(self, grid: Grid) -> None:
        for name in REQUIRED:
            given = name in grid.fixed or name in grid.axes or any(name in group for group in grid.zips)
            alone = grid.include and not grid.axes and not grid.zips and all(name in point for point in grid.include)
            if not given and not alone:
                raise GridError(f"{self.source}: {name} is missing; give it under fixed or axes. {Point.model_fields[name].description}")

    def _check_when(self, grid: Grid) -> None:
        known = {
            *grid.axes,
            *grid.fixed,
            *(name for group in grid.zips for name in group),
            *(name for point in grid.include for name in point),
        }
        for name, condition in grid.when.items():
            if name not in known:
                raise self.error(
                    ("when", name), f"{name} has no value anywhere in this grid; give it under axes or fixed, or leave the condition out"
                )
            if name in REQUIRED:
                raise self.error(("when", name), f"{name} is needed by every trial; it cannot be conditional")
            if name in condition:
                raise self.error(("when", name), f"{name} cannot depend on itself")
            if any(name in group for group in grid.zips):
                raise self.error(("when", name), f"{name} moves in a zip group and cannot be conditional; write it under axes")

    def _check_by_method(self, grid: Grid) -> None:
        named = [*grid.axes.get("method", ()), *([grid.fixed["method"]] if "method" in grid.fixed else [])]
        named += [value for source in (*grid.zips, *grid.include) for value in source.get("method", ())]
        methods = {str(label(value)): value for value in named}
        for method, settings in grid.by_method.items():
            path: Path = ("by_method", method)
            if method not in methods:
                if grid.overridden:
                    continue
                raise self.error(path, unknown("method of this grid", method, methods))
            for name in settings:
                if name in ("method", "domain", "seed"):
                    raise self.error((*path, name), f"{name} cannot depend on the method")
                several = next((section for section, names in (("axes", grid.axes), ("when", grid.when)) if name in names), None)
                several = several or ("zip" if any(name in group for group in grid.zips) else None)
                if several:
                    raise self.error((*path, name), f"{name} is given under {several} too; keep one of them")
                lacks = lacking(name, methods[method].value)
                if lacks:
                    raise self.error((*path, name), f"the method {method} {lacks}; leave {name} out")
