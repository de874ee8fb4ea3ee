"""From a grid to a plan: the trials, the stages they share, and the pools over domains. Pure planning, no torch."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobs.grid.applies import check_methods
from jobs.grid.calibration import check_calibration, check_calibration_images
from jobs.grid.everyone import left_out, spell_out
from jobs.grid.inputs import Inputs, LocalInputs
from jobs.grid.messages import listed
from jobs.grid.model import POSITION, Grid, label
from jobs.grid.points import Row, Rows, points
from jobs.keys import canonical_json, sha256_text
from jobs.plan.build import StageBuilder
from jobs.plan.plan import SETTLED, Plan, Pool, Trial

SHOWN_COLLAPSES = 3
_DOMAIN, _ATTACK_DOMAIN, _SEED = (POSITION[name] for name in ("domain", "attack_domain", "seed"))


def expand(grid: Grid, *, inputs: Inputs | None = None) -> Plan:
    """The trials of a grid and the graph of their stages.

    Args:
        inputs: where data sets and models are looked up; the packaged ones and the user's folders by default.

    Raises:
        jobs.errors.InputError: settings that cannot go together, or a data set, domain or model that is not there.
    """
    with _no_garbage_collection():
        inputs = inputs or LocalInputs()
        whole = spell_out(grid, inputs)
        return _Expansion(whole, points(whole), inputs, left_out(grid)).plan()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A hundred thousand objects live as long as the plan and hold no cycles: looking through them for garbage doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


class _Expansion:
    """Builds the nodes of one grid. Every part of a point's meaning is worked out once per distinct value."""

    def __init__(self, grid: Grid, rows: Rows, inputs: Inputs, notices: list[str]) -> None:
        self.grid, self.rows, self.inputs = grid, rows, inputs
        self.stages = StageBuilder(grid, inputs)
        self.notices = [*notices, *rows.notices]

    def plan(self) -> Plan:
        self.notices += check_methods(self.grid, self.rows)
        check_calibration(self.grid, self.rows)
        trials = self._trials()
        check_calibration_images(self.grid, self.rows, self.inputs)
        return Plan(
            grid=self.grid.name,
            grid_key=sha256_text(canonical_json([self.grid.name, sorted(trials)])),
            axes=self._axes(),
            trials=[trial for trial, _ in trials.values()],
            pools=list(self._pools(list(trials.values()))),
            inputs=self.stages.folders,
            notices=[*self.notices, *self.stages.notices],
            document=self.grid.document,
            retry=self.grid.retry,
        )

    def _trials(self) -> dict[str, tuple[Trial, Row]]:
        trials: dict[str, tuple[Trial, Row]] = {}
        merged: list[tuple[Trial, Trial]] = []
        axes = [(name, POSITION[name], name in self.grid.when) for name in self.rows.axes]
        places = [(name, POSITION[name]) for name in SETTLED]
        for row, given in self.rows.rows:
            stages = self.stages.of(row, given)
            leaves = ",".join([f'["{name}","{node.key}"]' for name, node in stages.metrics.items()])
            if stages.fidelity is not None:
                leaves += f',["fidelity","{stages.fidelity.key}"]'
            if stages.extraction is not None:
                leaves += f',["extraction","{stages.extraction.key}"]'
            if stages.memorisation is not None:
                leaves += f',["memorisation","{stages.memorisation.key}"]'
            key = sha256_text(f"[{leaves}]")
            shown = {name: None if conditional and name not in given else label(row[position]) for name, position, conditional in axes}
            settled = {name: label(row[position]) for name, position in places}
            trial = Trial(key, shown, **stages._asdict(), settled=settled)
            if key in trials:
                merged.append((trial, trials[key][0]))
            else:
                trials[key] = trial, row
        if merged:
            self.notices.append(_told_merged(merged))
        return trials

    def _axes(self) -> dict[str, list[Any]]:
        """Every axis with its values in the grid's order; None (where a condition does not hold) is no value."""
        given: dict[str, dict[Any, None]] = {name: dict.fromkeys(values) for name, values in self.grid.axes.items()}
        for group in self.grid.zips:
            given |= {name: dict.fromkeys(values) for name, values in group.items()}
        for name in self.rows.axes:
            position = POSITION[name]
            values = given.setdefault(name, {})
            shown = (row[position] for row, given in self.rows.rows if name in given or name not in self.grid.when)
            values |= dict.fromkeys(value for value in shown if value is not None)
        return {name: [label(value) for value in given[name]] for name in self.rows.axes}

    def _pools(self, trials: list[tuple[Trial, Row]]) -> Iterator[Pool]:
        """One pool per attack of each group of trials that share all axes but domain and seed, over two attacked domains or more.

        Under domain transfer a model attacked on its own domain is pooled apart from one attacked on another.
        """
        names = [name for name in self.rows.axes if name not in ("domain", "seed")]
        groups: dict[tuple[Any, ...], list[tuple[Trial, Row]]] = {}
        for trial, row in trials:
            groups.setdefault(tuple(_shared(trial, row, name) for name in names), []).append((trial, row))
        for group, members in groups.items():
            if len({_attacked(row) for _, row in members}) < 2:
                continue
            members.sort(key=lambda member: (_attacked(member[1]), member[1][_DOMAIN], member[1][_SEED]))
            for attack, leaf in members[0][0].metrics.items():
                node = self.stages.pooled(leaf, [trial.metrics[attack] for trial, _ in members])
                yield Pool(dict(zip(names, group, strict=True)), attack, node, tuple(trial.key for trial, _ in members))


def _attacked(row: Row) -> str:
    return str(row[_DOMAIN] if row[_ATTACK_DOMAIN] is None else row[_ATTACK_DOMAIN])


def _shared(trial: Trial, row: Row, name: str) -> Any:
    """What the trials of a pool have in common on an axis."""
    if name != "attack_domain":
        return trial.axes[name]
    return "own" if _attacked(row) == row[_DOMAIN] else "other"


def _told_merged(merged: list[tuple[Trial, Trial]]) -> str:
    shown = [f"{_told(trial)} = {_told(first)}" for trial, first in merged[:SHOWN_COLLAPSES]]
    more = [f"and {len(merged) - SHOWN_COLLAPSES} more"] if len(merged) > SHOWN_COLLAPSES else []
    count = "1 point means" if len(merged) == 1 else f"{len(merged)} points mean"
    return f"{count} the same as an earlier one and will not run again: {'; '.join([*shown, *more])}"


def _told(trial: Trial) -> str:
    return listed(f"{name}={value}" for name, value in trial.axes.items() if value is not None)
