"""What a report's reader must be warned of: each distinct warning once, with where it was met."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.comparisons import Blind
from dashboards.groups import pooled_documents
from dashboards.places import places
from dashboards.results import Cell, document_of
from jobs.ledger.ledger import Ledger
from jobs.plan import Plan

INVERTED = (
    "An AUC under 0.5: the attack ranks members below non-members. It is shown as it is; "
    "turning its sign round after looking at the answer would find leakage in noise."
)


def blinds_of(plan: Plan, ledger: Ledger) -> list[Blind]:
    """The blind baseline of every attacked domain where it is committed, by domain."""
    committed = ledger.committed("blind")
    where = places(plan)
    nodes = {
        trial.blind.key: (where[trial.key].domain, trial.blind)
        for trial in plan.trials
        if trial.blind is not None and trial.blind.key in committed
    }
    found = [
        Blind(domain, document) for domain, node in nodes.values() if (document := document_of(ledger, node, "blind.json")) is not None
    ]
    return sorted(found, key=lambda blind: blind.domain)


def warnings(plan: Plan, ledger: Ledger, found: Sequence[Cell], blinds: Sequence[Blind]) -> list[tuple[str, str]]:
    """(message, where) of every distinct warning."""
    return [*_measured(plan, ledger, found, blinds), *_shared(found), *_mixed(plan, ledger)]


def _measured(plan: Plan, ledger: Ledger, found: Sequence[Cell], blinds: Sequence[Blind]) -> list[tuple[str, str]]:
    sources = [(f"{cell.place.domain} ({cell.attack})", cell.document) for cell in found]
    sources += [(f"pooled ({pool.attack})", document) for pool, document in pooled_documents(plan, ledger)]
    spots: dict[str, dict[str, None]] = {}
    for where, document in sources:
        for warning in document["warnings"]:
            message = INVERTED if warning["code"] == "inverted" else str(warning["message"])
            spots.setdefault(message, {})[where] = None
    for blind in blinds:
        if blind.separates:
            spots.setdefault("A blind classifier tells members from non-members: the split leaks.", {})[blind.domain] = None
    return [(message, _some(list(where))) for message, where in spots.items()]


def _shared(found: Sequence[Cell]) -> list[tuple[str, str]]:
    """Noise that is matched to nothing needs no images, so that all domains are attacked after the same one."""
    domains: dict[str, dict[str, str]] = {}
    for cell in found:
        shake = cell.trial.shake
        if shake is not None and shake.parent("train") is None:
            domains.setdefault(shake.key, {})[cell.place.domain] = cell.place.variant
    shared = {variant: None for seen in domains.values() if len(seen) > 1 for variant in seen.values()}
    if not shared:
        return []
    told = "All domains are attacked after one and the same draw of noise for each seed: intervals and tests over domains are about "
    return [(told + "these draws. More seeds are more draws.", _some(list(shared)))]


def _mixed(plan: Plan, ledger: Ledger) -> list[tuple[str, str]]:
    stale = ledger.stale(plan.nodes())
    if not stale:
        return []
    return [
        (
            "Two makes are mixed: some stages were computed from an older make of a stage that has since been made again.",
            _some([f"{node.kind} {node.key[:12]}" for node in stale]),
        )
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
