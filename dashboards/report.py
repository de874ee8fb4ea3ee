"""The report of a grid: one HTML file that needs nothing else, built from the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from dashboards.attack_settings import attack_settings
from dashboards.by_value import by_values
from dashboards.comparisons import comparisons
from dashboards.conditions import CONDITIONS
from dashboards.controls import control_cards, shuffled
from dashboards.controls_table import control_rows
from dashboards.drawings import Drawing
from dashboards.findings import findings
from dashboards.given_back import curves, given_back
from dashboards.glance import glance_plot, glance_table
from dashboards.groups import ROLE_WORDS, Groups, groups_of
from dashboards.known import known
from dashboards.matched import PAIRS, matches
from dashboards.methods import WITHIN, amplified_controls, domain_tests, p_words, pooled_up, pooled_words
from dashboards.power import power
from dashboards.precision import matcher_words
from dashboards.printed import MARKS
from dashboards.rejected import rejected_words
from dashboards.results import Cell, cells
from dashboards.samples import DomainSamples, samples
from dashboards.sections import attack_sections
from dashboards.status import first_line, next_step, states, status
from dashboards.sweeps import sweeps
from dashboards.transfer import matrices
from dashboards.utility import utility
from dashboards.warned import blinds_of, warnings
from dashboards.words import short
from jobs.ledger.ledger import Ledger
from jobs.plan.names import trial_name
from jobs.plan.plan import Plan, Trial

MAX_LISTED = 240
VERDICT_WORDS = {
    "amplified": "easier to attack, beyond the interval",
    "reduced": "harder to attack, beyond the interval",
    "none": "no change beyond the interval",
    "inverted": "changed beyond the interval, but the attack pointed the wrong way beforehand (AUC under 0.5)",
}


def report(plan: Plan, ledger: Ledger, *, show_private: bool = False) -> str:
    """The report as one self-contained HTML page: `reported` without its figures.

    Args:
        show_private: with sample images of members and SP sets, and of what models gave back. They are private; without it not one is read.
    """
    return reported(plan, ledger, show_private=show_private)[0]


def reported(plan: Plan, ledger: Ledger, *, show_private: bool = False) -> tuple[str, list[Drawing]]:
    """The page, and its figures. No figure holds an image, private or not."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dashboards"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"marks": MARKS, "verdict_words": VERDICT_WORDS, "short": short, "p_words": p_words, "pairs_shown": PAIRS}
    environment.filters |= {"rate": _rate, "measure": _measure, "ticks": _ticks, "signed": _signed, "percent": _percent}
    context = _context(plan, ledger, show_private)
    return environment.get_template("report.html.j2").render(context), _figures(context)


def _figures(context: Mapping[str, Any]) -> list[Drawing]:
    found = [context["glance"]] if context["glance"] else []
    found += context["budgets"].drawings
    found += [panel.drawing for sweep in context["sweeps"] for panel in sweep.panels]
    found += [drawing for by_value in context["by_values"] for drawing in by_value.drawings]
    return found + [drawing for section in context["attacks"] for drawing in section.roc.drawings]


def _signed(value: float) -> str:
    """A number of images with its sign; a whole one without digits."""
    text = (f"{value:+.0f}" if value == round(value) else f"{value:+.1f}").replace("-", "−")
    return text if text.strip("+−.0") else "0"


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %"


def _measure(name: str) -> str:
    """`tpr_at_fpr_0.01` -> `found at 1 % false alarms`."""
    if name == "asr":
        return "right calls, members and others equally weighed"
    head, _, rate = name.rpartition("_")
    return f"found at {100 * float(rate):g} % false alarms" if head == "tpr_at_fpr" else name


def _ticks(text: str) -> Markup:
    """Text with what stands between backticks as code; everything else is escaped."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts))


def _context(plan: Plan, ledger: Ledger, show_private: bool) -> dict[str, Any]:
    found = cells(plan, ledger)
    compared, blinds = comparisons(plan, found), blinds_of(plan, ledger)
    groups = groups_of(plan, ledger, found)
    tests, swept = domain_tests(groups), sweeps(plan, groups)
    curved = frozenset(way for sweep in swept for way in sweep.shown)
    plot = glance_plot(groups, curved)
    standing = status(plan, ledger)
    unfinished = sum(count for state, count in standing["trials"].items() if state != "done")
    back = given_back(plan, ledger)
    shown: list[DomainSamples] = samples(plan, ledger) if show_private else []
    return {
        "grid": plan.grid,
        "grid_key": plan.grid_key,
        "findings": findings(compared, blinds, unfinished=unfinished, pooled=pooled_words(groups, tests), pooled_up=pooled_up(groups)),
        "facts": [*_facts(plan, found, standing), *_rejected(plan, ledger)],
        "attacks": attack_sections(groups, tests, found, ledger),
        "attack_settings": attack_settings(plan, ledger),
        "tests": tests,
        "within_words": WITHIN,
        "conditions": _conditions(groups),
        "glance": plot,
        "glance_table": None if plot else glance_table(groups, curved),
        "utility": utility(plan, ledger, groups, standing["failures"]),
        "given_back": back,
        "matchers": matcher_words(plan),
        "budgets": curves(back),
        "known": known(plan, ledger, found),
        "role_words": ROLE_WORDS,
        "transfer": matrices(plan, groups),
        "sweeps": swept,
        "by_values": by_values(plan, groups, swept),
        "controls": control_cards(compared, blinds, amplified_controls(groups), shuffled(found)),
        "control_rows": control_rows(compared, groups, blinds, found),
        "blinds": blinds[:MAX_LISTED],
        "power": power(plan, _sizes(found)),
        "warnings": warnings(plan, ledger, found, blinds),
        "unfinished": _unfinished(plan, ledger, standing),
        "private": show_private,
        "samples": shown,
        "matched": matches(plan, ledger) if show_private else [],
        "reproduce": _reproduce(plan, found),
    }


def _facts(plan: Plan, found: Sequence[Cell], standing: dict[str, Any]) -> list[tuple[str, str]]:
    domains, variants = {cell.place.domain for cell in found}, {cell.place.change_words for cell in found if cell.place.role == "method"}
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


def _sizes(found: Sequence[Cell]) -> dict[str, tuple[int, int]]:
    """Attacked domain -> (members, non-members); an attack that learned from some of them scores fewer."""
    sizes: dict[str, tuple[int, int]] = {}
    for cell in found:
        sizes[cell.place.domain] = max((cell.document["n_member"], cell.document["n_non_member"]), sizes.get(cell.place.domain, (0, 0)))
    return sizes


def _rejected(plan: Plan, ledger: Ledger) -> list[tuple[str, str]]:
    words = rejected_words(plan, ledger)
    return [("drawn images rejected by the safety checker", words)] if words else []


def _conditions(groups: Groups) -> dict[str, dict[str, str]]:
    """Attack -> the conditions under which it was run once more, each in words at the first attack that has it."""
    told: dict[str, str] = {}
    for attack, members in groups.items():
        for group in members:
            for again in group.again:
                told.setdefault(again.condition, attack)
    return {attack: {name: CONDITIONS[name].words for name, first in told.items() if first == attack} for attack in told.values()}


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
            "next": next_step(group["class"], group["message"]),
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
