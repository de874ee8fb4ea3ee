"""`s2l sync`: the mirror from the ledger alone, as often as one likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.errors import InputError, OutOfReach
from jobs.ledger.failures import newest
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan
from jobs.states import trial_states
from jobs.tracker.answers import Refused, Unreachable
from jobs.tracker.deliver import Artifacts, Delivery, GridArtifacts
from jobs.tracker.event import Event, event_of
from jobs.tracker.location import resolved, shown, spool_folder
from jobs.tracker.spool import Spool


@dataclass(frozen=True)
class SyncReport:
    """What `sync` did.

    Attributes:
        trials: trials at rest (done, failed or blocked), each with one run now.
        written: runs made or changed; unchanged: runs that were right already.
        closed: runs of dead writers, or of results that left the ledger, that were ended.
    """

    trials: int
    written: int
    unchanged: int
    closed: int


def sync(
    plan: Plan,
    ledger: Ledger,
    tracking_uri: str,
    *,
    artifacts: Artifacts | None = None,
    grid_artifacts: GridArtifacts | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> SyncReport:
    """Make MLflow show the grid exactly as the ledger has it: no run twice, none left running by a dead process.

    Raises:
        jobs.errors.OutOfReach: tracking (or the store) does not answer.
        jobs.errors.InputError: MLflow answers and declines.
    """
    uri = resolved(tracking_uri)
    spool = Spool(spool_folder(uri), plan.grid, uri)
    events = _events(plan, ledger)
    late = {event.trial: event for event in spool.adopt()}  # also of trials that the grid asks for no more
    delivery = Delivery(plan, ledger, uri, notice, artifacts, grid_artifacts)
    waiting = late | events
    try:
        for event in list(waiting.values()):
            if event.trial in events or event.trial not in {trial.key for trial in plan.trials}:
                delivery.deliver(event)
            del waiting[event.trial]
        closed = delivery.open().end_dead(events.keys() | late.keys(), {trial.key for trial in plan.trials})
        delivery.close_grid({key: event.state for key, event in events.items()})
    except Unreachable as error:
        raise OutOfReach(
            f"MLflow does not answer: {error}; is the server up? Nothing is lost: repeat `s2l sync {plan.grid}` later"
        ) from error
    except Refused as error:
        raise InputError(f"MLflow declines: {error}; check --tracking ({shown(uri)}) and what your account may do there") from error
    finally:
        spool.keep_only(waiting[key] for key in late.keys() & waiting.keys())
    return SyncReport(len(events), delivery.written, delivery.unchanged, closed)


def _events(plan: Plan, ledger: Ledger) -> dict[str, Event]:
    """The trials at rest, from the ledger."""
    kinds = {leaf.kind for trial in plan.trials for leaf in trial.leaves()}
    committed = set().union(*(ledger.committed(kind) for kind in sorted({node.kind for node in plan.nodes()} | kinds)))
    failures = newest(ledger.failures())
    states = trial_states(plan, committed, failures)
    return {trial.key: event_of(trial, states[trial.key]) for trial in plan.trials if states[trial.key].state != "missing"}
