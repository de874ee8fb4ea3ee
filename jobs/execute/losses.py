"""What a lost worker means: a node that was taken away counts for little; a unit that takes its workers down is given up in the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from jobs.execute.board import Story
from jobs.execute.units import Unit
from jobs.ledger.failures import ErrorClass
from jobs.policy import RetryPolicy

SETTLE_S = 3.0
"""How long a node may take to be known as gone after its workers, before a unit is given up for them."""
UNHEARD = 2
"""So many times more often than others may a worker be lost that never said it had begun: it may have been sent to a node that is dying."""
LONGEST_LAST_WORDS = 200


@dataclass(frozen=True)
class Verdict:
    """Why a unit is given up."""

    error_class: ErrorClass
    message: str
    stage: str = ""
    host: str = ""
    trace: str = ""
    tries: int = 0


@dataclass(frozen=True)
class _Counted:
    """A unit's runs that died, that hung, and those whose node is gone."""

    died: list[Story | None]
    hung: list[Story]
    gone: list[Story]


class Losses:
    """Counts lost workers by unit.

    Args:
        node_lives: whether a node, by Ray's name, is still there.

    Attributes:
        worked: whether a worker of this run has computed anything.
        halved: key of a stage -> how often its pieces of a batch are to be halved: from the second worker on that died in it, for want of
            memory as likely as not.
    """

    def __init__(self, policy: RetryPolicy, node_lives: Callable[[str], bool], *, wait: Callable[[float], None] = time.sleep) -> None:
        self._policy, self._node_lives, self._wait = policy, node_lives, wait
        self._of: dict[str, list[Story | None]] = {}
        self._unreached: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()
        self._notices: Counter[str] = Counter()
        self._stood: dict[str, frozenset[str]] = {}
        self.halved: Counter[str] = Counter()
        self.worked = False

    def lost(self, unit: Unit, story: Story | None) -> Verdict | None:
        """Note that a unit's worker is gone; why the unit is given up, or None to try again.

        Args:
            story: what is known of its last run.
        """
        self._of.setdefault(unit.id, []).append(story)
        if story is None:
            self._wait(SETTLE_S)  # until Ray has seen that the node is gone which this one may have been sent to
        verdict = self._verdict(unit)
        if verdict is not None:
            self._wait(SETTLE_S)  # perhaps the node is going away, and not yet known to be gone
            verdict = self._verdict(unit)
        self._halve(unit, story)
        return verdict

    def told_to_leave(self, unit: Unit, story: Story, stands: frozenset[str]) -> Verdict | None:
        """Note that a unit's worker had a notice to leave; a verdict as for `lost`.

        Args:
            stands: what the unit has done so far. Only notices count between which that stayed the same.
        """
        same = self._stood.get(unit.id) == stands
        self._stood[unit.id], self._notices[unit.id] = stands, self._notices[unit.id] + 1 if same else 1
        notices = self._notices[unit.id]
        if notices < self._policy.preempted.notices:
            return None
        message = (
            f"the worker was told to leave (SIGTERM) each time it ran this stage, {_times(notices)} in a row, and the unit got no further; "
            f"does its node evict it for the memory it takes{_last_words(story)}"
        )
        return Verdict("preempted", message, story.stage, story.place.host, "", notices)

    def unreached(self, unit: Unit, message: str) -> Verdict | None:
        """Note that a unit's worker waited for the store in vain, while the driver reaches it; a verdict as for `lost`."""
        self._unreached[unit.id] += 1
        if self._unreached[unit.id] < self._policy.preempted.tries:
            return None
        return Verdict("transient", f"workers do not reach the store, which the driver reaches: {message}", tries=self._unreached[unit.id])

    def broken(self, unit: Unit, found: Verdict) -> Verdict | None:
        """Note that a unit's worker met an error outside of the stages; a verdict as for `lost`. What cannot work is not tried again."""
        self._broken[unit.id] += 1
        hopeless = found.error_class in ("configuration", "data")
        if not hopeless and self._broken[unit.id] < self._policy.preempted.tries:
            return None
        return replace(found, tries=self._broken[unit.id])

    def told(self, unit: Unit) -> str:
        """`1 of 4 tries lost`, in words for people."""
        counted, preempted = self._counted(unit), self._policy.preempted
        told = [f"{len(counted.died)} of {preempted.tries} tries"] if counted.died else []
        told += [f"{len(counted.hung)} of {self._policy.hung.tries} tries"] if counted.hung else []
        told += [f"{len(counted.gone)} of {preempted.nodes} nodes that may go away under it"] if counted.gone else []
        return " and ".join(told)

    def _verdict(self, unit: Unit) -> Verdict | None:
        counted = self._counted(unit)
        died, hung, gone = counted.died, counted.hung, counted.gone
        if len(hung) >= self._policy.hung.tries:
            last = hung[-1]
            message = f"no progress for {self._policy.hung.after_s:g} s, {_times(len(hung))}{_last_words(last)}"
            return Verdict("hung", message, last.stage, last.place.host, last.trace, len(hung))
        told = next((story for story in reversed(died) if story is not None), None)
        unheard = sum(story is None for story in died)
        if len(died) - unheard >= self._policy.preempted.tries or unheard >= UNHEARD * self._policy.preempted.tries:
            message = f"the worker died each time it ran this stage (killed, or out of memory), {_times(len(died))}, on nodes that live"
            stage, host = (told.stage, told.place.host) if told else ("", "")
            return Verdict("preempted", message + (_last_words(told) if told else ""), stage, host, "", len(died))
        if len(gone) >= self._policy.preempted.nodes:
            last = gone[-1]
            message = f"the node went away each time it ran this stage, {_times(len(gone))}: does it take its nodes down{_last_words(last)}"
            return Verdict("preempted", message, last.stage, last.place.host, "", len(gone))
        return None

    def _counted(self, unit: Unit) -> _Counted:
        """Which node is gone is asked anew each time, since that is learned late."""
        counted = _Counted([], [], [])
        for story in self._of.get(unit.id, ()):
            if story is None:
                counted.died.append(story)
            elif not self._node_lives(story.place.node):
                counted.gone.append(story)
            else:
                (counted.hung if story.hung_s else counted.died).append(story)
        return counted

    def _halve(self, unit: Unit, story: Story | None) -> None:
        if story is not None and story.stage and not story.hung_s:
            died = sum(one is not None and one.stage == story.stage for one in self._counted(unit).died)
            self.halved[story.stage] = max(0, died - 1)


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _last_words(story: Story) -> str:
    where = f"process {story.place.pid} on {story.place.host}"
    said = f"; the last that was seen: {story.words[:LONGEST_LAST_WORDS]!r}" if story.words else "; it never showed any"
    return f"{said} ({where})"
