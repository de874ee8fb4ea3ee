"""The report of a grid: one HTML file that needs nothing else, built from the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from dashboards.controls import control_cards
from dashboards.findings import Blind, comparisons, findings, short
from dashboards.results import Cell, cells, document_of, places
from dashboards.samples import DomainSamples, samples
from dashboards.sections import attack_sections, overview, pooled_documents
from dashboards.status import NEXT_STEPS, first_line, states, status
from dashboards.tables import MARKS
from jobs.ledger.ledger import Ledger
from jobs.names import trial_name
from jobs.plan import Plan, Trial

MAX_LISTED = 240
VERDICT_WORDS = {
    "amplified": "easier to attack, beyond the interval",
    "reduced": "harder to attack, beyond the interval",
    "none": "no change beyond the interval",
    "inverted": "changed beyond the interval, but the attack pointed the wrong way beforehand (AUC under 0.5)",
}


def report(plan: Plan, ledger: Ledger, *, show_private: bool = False) -> str:
    """The report as one self-contained HTML page.

    Args:
        show_private: with sample images of members and SP sets. They are private; without it not one is read.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dashboards"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"marks": MARKS, "verdict_words": VERDICT_WORDS, "short": short}
    environment.filters |= {"rate": _rate, "measure": _measure, "ticks": _ticks}
    return environment.get_template("report.html.j2").render(_context(plan, ledger, show_private))


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _measure(name: str) -> str:
    """`tpr_at_fpr_0.01` -> `found at 1 % false alarms`."""
    head, _, rate = name.rpartition("_")
    return f"found at {100 * float(rate):g} % false alarms" if head == "tpr_at_fpr" else name


def _ticks(text: str) -> Markup:
    """Text with what stands between backticks as code; everything else is escaped."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts))


def _context(plan: Plan, ledger: Ledger, show_private: bool) -> dict[str, Any]:
    found = cells(plan, ledger)
    compared = comparisons(found)
    sections = attack_sections(plan, ledger, found)
    blinds = _blinds(plan, ledger)
    standing = status(plan, ledger)
    unfinished = sum(count for state, count in standing["trials"].items() if state != "done")
    shown: list[DomainSamples] = samples(plan, ledger) if show_private else []
    return {
        "grid": plan.grid,
        "grid_key": plan.grid_key,
        "findings": findings(compared, blinds, unfinished=unfinished),
        "facts": _facts(plan, found, standing),
        "attacks": sections,
        "overview": overview(sections),
        "controls": control_cards(compared, blinds),
        "warnings": [*_warnings(plan, ledger, found, blinds), *_mixed(plan, ledger)],
        "unfinished": _unfinished(plan, ledger, standing),
        "private": show_private,
        "samples": shown,
        "reproduce": _reproduce(plan, found),
    }


def _facts(plan: Plan, found: Sequence[Cell], standing: dict[str, Any]) -> list[tuple[str, str]]:
    domains, variants = {cell.place.domain for cell in found}, {cell.place.variant for cell in found if cell.place.role == "method"}
    done = standing["trials"]["done"]
    facts = [
        ("trials done", f"{done:,} of {len(plan.trials):,}"),
        ("domains", str(len(domains))),
        ("ways to fine-tune", str(len(variants))),
    ]
    sizes = sorted({(cell.document["n_member"], cell.document["n_non_member"]) for cell in found})
    if sizes:
        ranges = [
            f"{low}" if low == high else f"{low}–{high}"
            for low, high in ((min(column), max(column)) for column in zip(*sizes, strict=True))
        ]
        facts.append(("members / non-members a domain", " / ".join(ranges)))
    return facts


def _blinds(plan: Plan, ledger: Ledger) -> list[Blind]:
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


INVERTED = (
    "An AUC under 0.5: the attack ranks members below non-members. It is shown as it is; "
    "turning its sign round after looking at the answer would find leakage in noise."
)


def _warnings(plan: Plan, ledger: Ledger, found: Sequence[Cell], blinds: Sequence[Blind]) -> list[tuple[str, str]]:
    """(message, where) of every distinct warning."""
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


@dataclass(frozen=True)
class TrialList:
    """Trials by key and name; a long list is cut, and says by how many."""

    shown: list[tuple[str, str]]
    left_out: int


def _listed(keys: Sequence[str], trials: Mapping[str, Trial]) -> TrialList:
    shown = [(key, trial_name(trials[key].axes)) for key in keys[:MAX_LISTED]]
    return TrialList(shown, len(keys) - len(shown))


def _unfinished(plan: Plan, ledger: Ledger, standing: dict[str, Any]) -> dict[str, Any]:
    trials = {trial.key: trial for trial in plan.trials}
    groups = [
        {
            "class": group["class"],
            "message": first_line(group["message"]),
            "next": NEXT_STEPS.get(group["class"], NEXT_STEPS["unknown"]),
            "trials": _listed(group["trials"], trials),
        }
        for group in standing["failures"]
    ]
    missing = [key for key, state in states(plan, ledger).items() if state.state == "missing"]
    return {"counts": standing["trials"], "groups": groups, "missing": _listed(missing, trials)}


def _reproduce(plan: Plan, found: Sequence[Cell]) -> dict[str, Any]:
    import yaml

    trials = {trial.key: trial for trial in plan.trials}
    return {
        "grid": yaml.safe_dump(plan.document, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100),
        "versions": sorted({f"S2L {cell.version}" for cell in found}),
        "devices": sorted({cell.device for cell in found} - {""}),
        "trials": _listed(list(trials), trials),
    }
