"""What a grid can see, told before it is run (`s2l plan --power`): detectable changes by size of domain, and whether a test can reject."""

from __future__ import annotations

from collections import Counter
from typing import Any

from dashboards.conditions import split
from dashboards.places import places
from dashboards.words import plural
from jobs.plan.plan import Plan
from jobs.stages.specs import ChoiceStage, ScoreStage
from s2l_core.metrics.pooled import ENOUGH_FOR_WILCOXON
from s2l_core.metrics.power import auc_error, detectable_change, detectable_mean_change, domains_needed, smallest_corrected_p
from s2l_core.specs.attacks import SecMINNsAttack

CORRELATIONS = (0.0, 0.7, 0.9, 0.97)
"""Of an AUC before and after. On the packaged models dense fine-tuning leaves .7 to .9, a LoRA .92 to .98 (docs/statistics.md)."""
LEVEL, POWER = 0.95, 0.8


def power(plan: Plan, sizes: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """The statements, as one JSON value.

    Args:
        sizes: attacked domain -> (members, non-members); domains of unknown size are left out.
    """
    alike = Counter(sizes.values())
    by_size = [_of_size(members, others, count) for (members, others), count in sorted(alike.items())]
    told = {"level": LEVEL, "power": POWER, "by_size": by_size, "calibrated": _calibrated(plan)}
    return told | {"over_domains": _over_domains(plan, sizes)}


def _calibrated(plan: Plan) -> dict[str, float]:
    """Attack -> the share of images that it scores, where it learns from the others or, if so chosen, will."""
    found = {}
    for trial in plan.trials:
        for name, node in trial.metrics.items():
            after = node.parent("after")
            if after is None or not isinstance(after.spec, ScoreStage):
                continue
            choice = after.parent("choice")
            candidates = choice.spec.candidates if choice is not None and isinstance(choice.spec, ChoiceStage) else ()
            for attack in candidates or [after.spec.attack]:
                if isinstance(attack, SecMINNsAttack):
                    found[f"{name} (where it comes to {attack.kind})" if candidates else name] = 1.0 - attack.calibration
    return found


def _of_size(members: int, non_members: int, domains: int) -> dict[str, Any]:
    found = {f"{r:g}": detectable_change(members, non_members, correlation=r, level=LEVEL, power=POWER) for r in CORRELATIONS}
    return {"members": members, "non_members": non_members, "domains": domains, "detectable_auc_change": found}


def _over_domains(plan: Plan, sizes: dict[str, tuple[int, int]]) -> dict[str, Any]:
    where = places(plan)
    domains = len({place.domain for place in where.values()})
    tests = len({(where[trial.key].variant, attack) for trial in plan.trials for attack in _tested(trial.metrics, where[trial.key].role)})
    least = max(sizes.values(), key=lambda size: auc_error(0.5, *size), default=None)
    detectable = None
    if least is not None and domains > 1:
        detectable = {f"{r:g}": detectable_mean_change(domains, *least, correlation=r, level=LEVEL, power=POWER) for r in CORRELATIONS}
    smallest = smallest_corrected_p(domains, tests) if tests else None
    return {
        "domains": domains,
        "tests": tests,
        "smallest_corrected_p": smallest,
        "can_reject": smallest is not None and smallest <= 1 - LEVEL,
        "domains_needed": domains_needed(tests) if tests else None,
        "detectable_auc_change": detectable,
    }


def _tested(attacks: dict[str, Any], role: str) -> list[str]:
    """The attacks whose change is tested over domains: those of methods, as they are."""
    return [attack for attack in attacks if not split(attack)[1]] if role == "method" else []


def text(found: dict[str, Any]) -> str:
    """The statements in words and a table."""
    share, error, over = _percent(found["power"]), _percent(1 - found["level"]), found["over_domains"]
    lines = [f"The least change of an AUC that is found in {share} of runs, by a paired test at {error},"]
    lines += ["if the AUCs before and after are correlated by r (they are of the same images: r is high)", ""]
    lines += [f"{'domains':>8} {'members':>8} {'others':>8}  " + " ".join(f"{f'r = {r:g}':>9}" for r in CORRELATIONS)]
    for row in found["by_size"]:
        lines.append(f"{row['domains']:8} {row['members']:8} {row['non_members']:8}  {_changes(row['detectable_auc_change'])}")
    if not found["by_size"]:
        lines.append("unknown: the data set is yet to be given")
    if over["detectable_auc_change"]:
        lines.append(f"{'mean of':>8} {over['domains']:8} {'domains':>8}  {_changes(over['detectable_auc_change'])}")
    for name, scored in found["calibrated"].items():
        lines.append(f"{name} scores {_percent(scored)} of the images, those that it did not learn from: its changes are known less well")
    return "\n".join([*lines, "", _test_over_domains(over)])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _changes(by_correlation: dict[str, float]) -> str:
    return " ".join(f"{f'{change:.3f}':>9}" for change in by_correlation.values())


def _test_over_domains(over: dict[str, Any]) -> str:
    domains, tests = over["domains"], over["tests"]
    if not tests:
        return "No method of this grid is tested over domains: it has controls and baselines alone."
    if domains < ENOUGH_FOR_WILCOXON:
        return (
            f"Over {plural(domains, 'domain')} nothing is tested: a signed-rank test takes {ENOUGH_FOR_WILCOXON} at least, and "
            f"{over['domains_needed']} to reject at 5 % after Holm's correction for {plural(tests, 'pair')} of method and attack."
        )
    told = (
        f"Over {plural(domains, 'domain')}: {plural(tests, 'signed-rank test')} (methods x attacks), corrected by Holm. "
        f"The least p that can come out is {over['smallest_corrected_p']:.3g}"
    )
    if over["can_reject"]:
        return f"{told}: a test can reject at 5 %."
    return f"{told}: no test can reject at 5 %; it takes {over['domains_needed']} domains, or fewer methods and attacks."
