"""Which settings bear on which methods: a rank where a LoRA is trained, a sigma where noise is added.

A fixed value applies wherever it can and is left aside elsewhere; what axes or `include` give a point must apply to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.errors import GridError
from jobs.grid.messages import listed
from jobs.grid.model import LORA_FIELDS, NOISE_FIELDS, POSITION, TOKEN_FIELDS, Grid, MethodSpec, Named, label
from jobs.grid.points import Row, Rows, never
from jobs.grid.presets import MATCHED
from jobs.grid.read_method import read_method, trains
from s2l_core.specs.adapters import GaussianAdapter
from s2l_core.specs.objectives import DreamBoothObjective


@dataclass(frozen=True)
class Rule:
    """Settings that bear on some methods only.

    Attributes:
        lacks: what a method that they do not bear on is said to do.
        nobody: what no method of a grid does where they bear on none.
        examples: presets that they bear on.
    """

    fields: tuple[str, ...]
    fits: Callable[[MethodSpec], bool]
    lacks: str
    nobody: str
    examples: tuple[str, ...]


def _has(kind: str) -> Callable[[MethodSpec], bool]:
    return lambda method: any(adapter.kind == kind for adapter in method.adapters)


def _has_dreambooth(method: MethodSpec) -> bool:
    return isinstance(method.objective, DreamBoothObjective)


RULES = (
    Rule(LORA_FIELDS, _has("lora"), "trains no LoRA", "trains a LoRA", ("lora", "lora+dreambooth")),
    Rule(TOKEN_FIELDS, _has("textual-inversion"), "learns no token", "learns a token", ("textual-inversion",)),
    Rule(NOISE_FIELDS, _has("gaussian"), "adds no noise", "adds noise", ("gaussian",)),
    Rule(("prior",), _has_dreambooth, "has no dreambooth objective", "has the dreambooth objective", ("dreambooth", "lora+dreambooth")),
    Rule(("defence",), trains, "trains nothing", "trains anything", ("dreambooth", "lora")),
)
BOUND: tuple[str, ...] = tuple(name for rule in RULES for name in rule.fields)


def lacking(name: str, method: MethodSpec) -> str | None:
    """What the method is said to do when a setting does not bear on it; None when it does."""
    return next((rule.lacks for rule in RULES if name in rule.fields and not rule.fits(method)), None)


def given(row: Row, name: str) -> bool:
    """Whether a bound setting has a value here: absent is None, `prior: false`, and `defence: none`."""
    value = row[POSITION[name]]
    return value is not None and (name not in ("prior", "defence") or value.value is not None)


def sigma_of(row: Row) -> Any:
    """The noise's standard deviation at a point, or None where no noise is."""
    own = next((adapter.sigma for adapter in row[POSITION["method"]].value.adapters if isinstance(adapter, GaussianAdapter)), None)
    return row[POSITION["sigma"]] if own is not None and row[POSITION["sigma"]] is not None else own


def matched_method(row: Row) -> Named:
    """The method that noise with `sigma: match` is as long as."""
    named: Named | None = row[POSITION["match_method"]]
    return named or read_method(MATCHED)


def _fits(rule: Rule, row: Row) -> bool:
    """Whether settings bear on a point: on its method, or on what its noise is as long as."""
    return rule.fits(row[POSITION["method"]].value) or (sigma_of(row) == "match" and rule.fits(matched_method(row).value))


def check_methods(grid: Grid, rows: Rows) -> list[str]:
    """Each setting that bears on some methods only meets one of them.

    Returns:
        Notices about fixed values that bear on no method after `--set`.

    Raises:
        GridError: an axis that crosses methods it does not bear on, or a fixed value that bears on no method of the grid.
    """
    notices: list[str] = []
    methods = {row[POSITION["method"]]: None for row, _ in rows.rows}
    matched = {row[POSITION["match_method"]]: None for row, _ in rows.rows if sigma_of(row) == "match" and given(row, "match_method")}
    for rule in RULES:
        for name in rule.fields:
            if name in grid.fixed and _is_given(grid.fixed[name]) and not any(rule.fits(method.value) for method in (*methods, *matched)):
                _never_used(grid, name, f"no method of this grid {rule.nobody} ({listed(label(method) for method in methods)})", notices)
    bearing = dict.fromkeys((_bearing(row), explicit) for row, explicit in rows.rows)
    for row, explicit in bearing:
        _check_row(grid, row, explicit, list(methods))
    _check_matched(grid, [row for row, _ in bearing], notices)
    _check_public(grid, rows)
    return notices


def _never_used(grid: Grid, name: str, why: str, notices: list[str]) -> None:
    """A fixed value that bears on nothing: a mistake of the file, or of a `--set` that gives it; not of one that took what it bore on."""
    message = f"{grid.place('fixed', name)}: {why}"
    if isinstance(grid.lines.get(("fixed", name)), str):
        raise GridError(f"{message}; leave it out")
    never(grid, f"{message}, so that {name} is left aside" if grid.overridden else message, notices, remedy="leave it out")


def _is_given(value: Any) -> bool:
    return getattr(value, "value", value) is not None


def _bearing(row: Row) -> Row:
    """The row with all that does not bear on methods blanked, so that equal rows are looked at once."""
    kept = [None] * len(row)
    for name in ("method", *BOUND):
        kept[POSITION[name]] = row[POSITION[name]]
    return tuple(kept)


def _check_row(grid: Grid, row: Row, explicit: frozenset[str], methods: list[Any]) -> None:
    for rule in RULES:
        for name in rule.fields:
            if name in explicit and given(row, name) and not _fits(rule, row):
                fitting = [label(one) for one in methods if rule.fits(one.value)] or list(rule.examples)
                raise _does_not_apply(grid, name, row, rule.lacks, fitting)
    if "match_method" in explicit and given(row, "match_method") and sigma_of(row) != "match":
        where = grid.place_of("match_method", row[POSITION["match_method"]])
        raise GridError(f"{where}: match_method is given where sigma is {sigma_of(row):g}; it says what `sigma: match` is as long as")


def _check_matched(grid: Grid, rows: list[Row], notices: list[str]) -> None:
    noise = {sigma for row in rows if (sigma := sigma_of(row)) is not None}
    if "match_method" in grid.fixed and noise and "match" not in noise:
        _never_used(grid, "match_method", "no point of this grid has `sigma: match`", notices)


def _check_public(grid: Grid, rows: Rows) -> None:
    """Public images are given where the defence mix takes them."""
    defence, public = POSITION["defence"], POSITION["public"]
    mixes = {(row[defence].label, getattr(row[defence].value, "kind", None) == "mix") for row, _ in rows.rows}
    if "public" in grid.fixed and not grid.overridden and not any(mix for _, mix in mixes):
        raise GridError(f"{grid.place('fixed', 'public')}: no point of this grid has the defence mix, which takes it; leave it out")
    others = {name for name, mix in mixes if not mix}
    for row, explicit in rows.rows if others else ():
        if "public" in explicit and row[public] is not None and row[defence].label in others:
            told = f"public is given where the defence is {row[defence].label}, which takes none"
            raise GridError(f"{grid.place_of('public', row[public])}: {told}; say when it applies: when: {{public: {{defence: mix}}}}")


def _does_not_apply(grid: Grid, name: str, row: Row, why: str, fitting: list[str]) -> GridError:
    told = f"{name} is given for the method {label(row[POSITION['method']])}, which {why}"
    remedy = (
        f"say when it applies: when: {{{name}: {{method: [{listed(fitting)}]}}}}" if name in grid.axes else "leave it out of this point"
    )
    return GridError(f"{grid.place_of(name, row[POSITION[name]])}: {told}; {remedy}")
