"""What a report's reader must be warned of: each distinct warning once, with where it was met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dashboards.comparisons import Blind
from dashboards.groups import pooled_documents, with_role
from dashboards.places import places
from dashboards.results import Cell, document_of
from jobs.ledger.ledger import Ledger
from jobs.plan.plan import Plan
from jobs.stages.specs import ShakeStage

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
    sources = [(f"{cell.place.domain} ({cell.attack})", cell.document["warnings"]) for cell in found]
    sources += _pooled(plan, ledger)
    spots: dict[str, dict[str, None]] = {}
    for where, told in sources:
        for warning in told:
            message = INVERTED if warning["code"] == "inverted" else str(warning["message"])
            spots.setdefault(message, {})[where] = None
    for blind in blinds:
        if blind.separates:
            spots.setdefault("A blind classifier tells members from non-members: the split leaks.", {})[blind.domain] = None
    return [(message, _some(list(where))) for message, where in spots.items()]


def _pooled(plan: Plan, ledger: Ledger) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """(where, warnings) of every pool."""
    where = places(plan)
    for pool, document in pooled_documents(plan, ledger):
        place = where[pool.trials[0]]
        shaken = place.role != "no-shake"  # where nothing is trained, no seed could change anything
        told = [warning for warning in document["warnings"] if shaken or warning["code"] != "one_seed"]
        yield f"{with_role(place.variant, place.role)}, pooled ({pool.attack})", told


def _shared(found: Sequence[Cell]) -> list[tuple[str, str]]:
    """Noise on the weights is drawn from the seed alone, so that all domains are attacked after the same draw."""
    domains: dict[tuple[str, int], set[str]] = {}
    for cell in found:
        shake = cell.trial.shake
        if shake is not None and shake.parent("train") is None and isinstance(shake.spec, ShakeStage):
            domains.setdefault((with_role(cell.place.variant, cell.place.role), shake.spec.seed), set()).add(cell.place.domain)
    shared = dict.fromkeys(variant for (variant, _), seen in domains.items() if len(seen) > 1)
    if not shared:
        return []
    told = (
        "All domains are attacked after one and the same draw of noise for each seed (of another length for each where it is matched): "
        "intervals and tests over domains are about these draws. More seeds are more draws."
    )
    return [(told, _some(list(shared)))]


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
