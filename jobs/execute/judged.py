"""What becomes of a unit whose worker lives, or ended in order, and could not do it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.errors import InputError
from jobs.execute.losses import Losses, Verdict
from jobs.execute.queue import Outcome
from jobs.execute.units import Unit

if TYPE_CHECKING:
    from jobs.execute.backends import Running


def judged(run: Running, losses: Losses, unit: Unit, outcome: Outcome) -> Outcome | None:
    """What became of the unit; None, or an outcome that is `preempted`, when it is to begin again.

    Raises:
        InputError: no worker can be made of the user's input, and none was before: as in the driver, that ends the run.
        OutOfReach: the driver does not reach the store either.
    """
    if outcome.wrong and not losses.worked:
        raise InputError(outcome.wrong)
    if outcome.unreached:
        run.reach_store()
        verdict = losses.unreached(unit, outcome.unreached)
        run.tell(f"a worker does not reach the store: {outcome.unreached}")
        return None if verdict is None else run.give_up(unit, verdict)
    # one node that lacks what the others have must not end what they do: the unit may find another
    found = Verdict("unknown", outcome.wrong) if outcome.wrong else Verdict(**outcome.broken)
    words = found.message.splitlines()[0]
    verdict = losses.broken(unit, found)
    if verdict is None:
        where = f" on {found.host}" if found.host else ""
        run.tell(f"a worker{where} failed outside of its stages; its unit begins again: {found.error_class}: {words}")
        return replace(outcome, broken={}, wrong="", preempted=True)
    given_up = run.give_up(unit, verdict)
    failed = dict.fromkeys(given_up.failed, (verdict.error_class, words))
    return replace(outcome, broken={}, wrong="", committed=given_up.committed, failed=outcome.failed | failed)
