"""Which unit may start now. Pure bookkeeping: no Ray, no clock, no store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.execute.limits import Gate
from jobs.execute.units import Unit
from jobs.plan.graph import Node


@dataclass(frozen=True)
class Outcome:
    """What became of a unit.

    Attributes:
        committed: keys of stages that are in the ledger now, made by this unit or found there.
        ran: those of them that this unit computed.
        manifests: of the committed stages, by their names in the store: the driver need not read them.
        failed: key of the stage that failed -> (class, message); its children in the unit were not tried.
        busy: keys that another driver holds the lease of.
        redo: keys of stages outside the unit that turned out corrupt and must be made again.
        notes: what the user should be told, such as a stage that went to quarantine.
        preempted: the worker was told to leave and stopped at a checkpoint; the unit goes on elsewhere.
        unreached: the worker waited for the store in vain; what was said to it.
        seconds: how long the worker was at it; 0 when it did not live to tell.
        broken: the worker's verdict on an error outside of stages, which no record holds yet: a `jobs.execute.losses.Verdict` as a dict.
        wrong: what a worker said that cannot be made of the user's input.
        node: where the worker is, by Ray's name; empty in the driver's process.
    """

    committed: tuple[str, ...] = ()
    ran: tuple[str, ...] = ()
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    busy: tuple[str, ...] = ()
    redo: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    preempted: bool = False
    unreached: str = ""
    seconds: float = 0.0
    broken: dict[str, Any] = field(default_factory=dict)
    wrong: str = ""
    node: str = ""
    manifests: dict[str, str] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether the driver must say what is to become of the unit: its worker could not."""
        return bool(self.unreached or self.broken or self.wrong)


class Queue:
    """Hands units out when all they need is committed and the gate lets them through; never one that would wait.

    Attributes:
        refused: the gate kept back what could have started when it was last asked.
    """

    def __init__(self, units: Iterable[Unit], gate: Gate | None = None) -> None:
        self.refused = False
        self._gate = gate or Gate()
        self.waiting: dict[str, Unit] = {unit.id: unit for unit in units}
        self.running: dict[str, Unit] = {}
        self.finished: dict[str, Outcome] = {}
        self.blocked: dict[str, tuple[Unit, str]] = {}
        self._promised = {node.key: node for unit in self.waiting.values() for node in unit.nodes}
        self._committed: set[str] = set()
        self._waiting_for: dict[str, set[str]] = {}
        self._waiters: dict[str, list[str]] = {}
        self._ready: dict[str, None] = {}
        for unit in self.waiting.values():
            open_needs = {key for key in unit.needs if key in self._promised}
            self._waiting_for[unit.id] = open_needs
            for key in open_needs:
                self._waiters.setdefault(key, []).append(unit.id)
            if not open_needs:
                self._ready[unit.id] = None

    def take(self, *, here: bool | None = None) -> Unit | None:
        """The next unit that can start, or None. `here` asks for units that must (or must not) run in the driver."""
        self.refused = False
        for unit_id in self._ready:
            unit = self.waiting[unit_id]
            if here is None or unit.here == here:
                if not self._gate.admits(unit):
                    self.refused = True
                    return None
                del self._ready[unit_id], self.waiting[unit_id]
                self.running[unit_id] = unit
                self._gate.began(unit)
                return unit
        return None

    def give_back(self, unit_id: str, *, begun: bool = True) -> None:
        """The unit's worker was lost, or never began it: it may start again."""
        unit = self.running.pop(unit_id)
        self.waiting[unit_id] = unit
        self._ready[unit_id] = None
        self._gate.ended(unit) if begun else self._gate.returned(unit)

    def finish(self, unit_id: str, outcome: Outcome) -> None:
        """Note an outcome; what waited for a stage that will not come is blocked."""
        unit = self.running.pop(unit_id)
        self.finished[unit_id] = replace(outcome, manifests={})  # who is told of the outcome has them
        self._gate.ended(unit, outcome.seconds)
        for key in outcome.committed:
            self._commit(key)
        cause = next(iter(outcome.failed), "")  # none when another driver is at it: the next round looks again
        for node in unit.nodes:
            if node.key not in self._committed:
                self._block(node.key, cause)

    @property
    def exhausted(self) -> bool:
        """True when no unit is left to start, now or later."""
        return not self.waiting

    def stage(self, key: str) -> Node | None:
        return self._promised.get(key)

    def _commit(self, key: str) -> None:
        self._committed.add(key)
        for unit_id in self._waiters.pop(key, ()):
            open_needs = self._waiting_for[unit_id]
            open_needs.discard(key)
            if not open_needs and unit_id in self.waiting:
                self._ready[unit_id] = None

    def _block(self, key: str, cause: str) -> None:
        for unit_id in self._waiters.pop(key, ()):
            unit = self.waiting.pop(unit_id, None)
            self._ready.pop(unit_id, None)
            if unit is not None:
                self.blocked[unit_id] = (unit, cause)
                for node in unit.nodes:
                    self._block(node.key, cause)
