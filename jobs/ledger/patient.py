"""A ledger that outlasts an outage of its store: for those who are in the middle of something."""

from __future__ import annotations

import time
from collections.abc import Callable

from jobs.ledger.leases import Leases
from jobs.ledger.ledger import Ledger
from jobs.policy import Transient
from jobs.store.patient import PatientStore


def patient(ledger: Ledger, policy: Transient, *, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep) -> Ledger:
    """The same ledger, each of whose calls waits while the store does not answer. Heartbeats of leases do not wait: they come round again.

    Args:
        say: told of every wait, in words.
        sleep: waits; may raise to end the waiting.

    Raises:
        jobs.errors.StoreLost: (every method of what is returned) the store was waited for in vain.
    """
    store = PatientStore(ledger.store, policy, say=say, sleep=sleep, after_outage=lambda: found.leases.forget_silence())
    found = Ledger(store, notice=ledger.notice, lease_ttl=ledger.leases.ttl, memory=ledger.memory)
    found.leases = Leases(store, ttl=ledger.leases.ttl, at_once=ledger.store)
    return found
