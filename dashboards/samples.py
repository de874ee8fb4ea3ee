"""Sample images for a report, read only when private artifacts were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.pictures import data_uri, records_of
from dashboards.places import places
from jobs.ledger.ledger import Ledger
from jobs.plan.graph import Node
from jobs.plan.plan import Plan, Trial

PER_SET = 8
MAX_DOMAINS = 12


@dataclass(frozen=True)
class DomainSamples:
    """Data URIs of a few members of a domain and of the pictures its models were trained on."""

    domain: str
    members: Sequence[str]
    drawn: Sequence[str]


def samples(plan: Plan, ledger: Ledger) -> list[DomainSamples]:
    """The first few images of each domain's committed members and SP set."""
    sets: dict[str, tuple[Node | None, Node | None]] = {}
    where = places(plan)
    for trial in plan.trials:
        place = where[trial.key]
        before = sets.get(place.domain, (None, None))
        drawn = _trained_on(trial) if place.role == "method" else None  # a control is trained on somebody else, or on nothing
        sets[place.domain] = (before[0] or _attacked(trial), before[1] or drawn)
    chosen = sorted(sets.items())[:MAX_DOMAINS]
    return [DomainSamples(domain, _images(ledger, data, member=True), _images(ledger, sp, member=None)) for domain, (data, sp) in chosen]


def _attacked(trial: Trial) -> Node | None:
    after = next((node.parent("after") for node in trial.metrics.values()), None)
    return after.parent("data") if after is not None else None


def _trained_on(trial: Trial) -> Node | None:
    return trial.shake.parent("train") if trial.shake is not None else None


def _images(ledger: Ledger, node: Node | None, *, member: bool | None) -> list[str]:
    first = next(records_of(ledger, node), []) if node is not None else []  # the first file of a set has enough to show
    records = [record for record in first if record.member is member]
    return [uri for record in records[:PER_SET] if (uri := data_uri(record.image))]
