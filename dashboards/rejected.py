"""How many drawn images a model's safety checker rejected: a set without them is smaller, and says so wherever it is shown."""

from __future__ import annotations

from dashboards.results import document_of
from jobs.ledger.ledger import Ledger
from jobs.plan.graph import Node
from jobs.plan.plan import Plan

FILE = "rejected.json"


def rejected_of(ledger: Ledger, node: Node) -> tuple[int, int] | None:
    """(rejected, asked) of a committed set; None where the checker was off."""
    manifest = ledger.manifest(node.kind, node.key) if node.kind in ("sp", "prior") else None
    if manifest is None or all(payload.name != FILE for payload in manifest.payloads):
        return None
    document = document_of(ledger, node, FILE)
    return (len(document["rejected"]), int(document["asked"])) if document is not None else None


def rejected_words(plan: Plan, ledger: Ledger) -> str:
    """`12 of 768` over all sets of a plan; empty where no checker was on."""
    found = [counts for node in plan.nodes() if (counts := rejected_of(ledger, node)) is not None]
    return f"{sum(rejected for rejected, _ in found):,} of {sum(asked for _, asked in found):,}" if found else ""
