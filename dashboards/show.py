"""All that is known of one trial."""

from __future__ import annotations

import difflib
import textwrap
from typing import Any

from dashboards.attack_settings import choice_of, chosen_words
from dashboards.defended import defence_words, facts_of, protects
from dashboards.printed import MARKS, interval, number, signed
from dashboards.rejected import rejected_of
from dashboards.results import document_of
from dashboards.status import committed_keys, first_line, next_step
from dashboards.words import plural
from jobs.errors import InputError
from jobs.ledger.failures import Failure, newest
from jobs.ledger.ledger import Ledger
from jobs.plan.graph import Node, ancestors
from jobs.plan.plan import Plan, Trial
from jobs.states import trial_state

_TRACE = "    "


def find(plan: Plan, prefix: str) -> Trial:
    """The trial whose key begins so.

    Raises:
        jobs.errors.InputError: no trial's key, or more than one, begins so; the message names the nearest.
    """
    wanted = prefix.strip().lower()
    found = [trial for trial in plan.trials if wanted and trial.key.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(sorted(trial.key[:12] for trial in found)[:4])
        count = f"{len(found)} trials of '{plan.grid}' begin so"
        raise InputError(f"trial key '{prefix}' is ambiguous: {count}, such as {some}; give more of the key")
    length = max(len(wanted), 10)
    near = difflib.get_close_matches(wanted, [trial.key[:length] for trial in plan.trials], n=3, cutoff=0.0)
    nearest = f"; nearest: {', '.join(near)}" if near else ""
    raise InputError(f"no trial of '{plan.grid}' has a key that begins with '{prefix}'{nearest}; `s2l results GRID` lists the trials")


def show(plan: Plan, ledger: Ledger, trial_key_prefix: str) -> dict[str, Any]:
    """Axes, state, stages, metrics, chosen attacks, defence and failures of one trial.

    Returns:
        `{"grid", "trial_key", "axes", "state", "stages": [...], "metrics": {attack: {...}}, "chosen": {attack: {...}}, "defence",
        "failures": [...]}`; a stage that is not committed has no digest, `chosen` holds what choices on calibration domains came to
        (`choice.json`),
        and `defence` is what the shake says of it, None without one.

    Raises:
        jobs.errors.InputError: the prefix is unknown or ambiguous.
    """
    trial = find(plan, trial_key_prefix)
    nodes = list(ancestors(trial.leaves()))
    keys, attacked = {node.key for node in nodes}, _attacks_of(trial)
    committed = committed_keys(plan, ledger)
    failures = [failure for failure in ledger.failures() if failure.key in keys and failure.key not in committed]
    state = trial_state(trial, committed, newest(failures))
    return {
        "grid": plan.grid,
        "trial_key": trial.key,
        "axes": dict(trial.axes),
        "state": state.state,
        "stages": [_stage(ledger, node, attacked.get(node.key)) for node in nodes],
        "metrics": {name: measures for name, node in sorted(trial.metrics.items()) if (measures := _measures(ledger, node)) is not None},
        "chosen": {name: chosen for name, node in sorted(trial.metrics.items()) if (chosen := choice_of(ledger, node)) is not None},
        "defence": facts_of(ledger, trial),
        "failures": [_failure(failure) for failure in failures],
    }


def _attacks_of(trial: Trial) -> dict[str, str]:
    """Key -> for which attack, and whether before or after fine-tuning, of the stages that belong to one."""
    found: dict[str, str] = {}
    for name, metrics in sorted(trial.metrics.items()):
        found[metrics.key] = name
        before, after = metrics.parent("before"), metrics.parent("after")
        for role, score in (("before", before), ("after", after)):
            if score is not None:
                found.setdefault(score.key, f"{name} {role}" if before is not after else name)
    return found


def _stage(ledger: Ledger, node: Node, attack: str | None) -> dict[str, Any]:
    manifest = ledger.manifest(node.kind, node.key)
    stage: dict[str, Any] = {"kind": node.kind, "key": node.key, "committed": manifest is not None}
    stage |= {"attack": attack} if attack is not None else {}
    if manifest is not None:
        payloads = [{"name": payload.name, "size": payload.size, "sha256": payload.sha256} for payload in manifest.payloads]
        stage |= {
            "digest": manifest.digest,
            "size": sum(payload.size for payload in manifest.payloads),
            "payloads": payloads,
            "made": dict(manifest.made),
        }
        if (rejected := rejected_of(ledger, node)) is not None:
            stage |= {"rejected": rejected[0], "asked": rejected[1]}
    return stage


def _measures(ledger: Ledger, node: Node) -> dict[str, Any] | None:
    document = document_of(ledger, node, "metrics.json")
    return document and {name: document[name] for name in ("n_member", "n_non_member", "metrics", "warnings")}


def _failure(failure: Failure) -> dict[str, Any]:
    names = ("kind", "key", "attempt", "message", "traceback", "host", "at", "tries", "micro_batch", "tried_again")
    return {"class": failure.error_class} | {name: getattr(failure, name) for name in names}


def text(document: dict[str, Any], width: int | None = None) -> str:
    """A trial for people.

    Args:
        width: columns of their terminal, at which long lines but those of tracebacks wrap under their beginning.
    """
    lines = [f"trial {document['trial_key'][:10]} of the grid {document['grid']}: {document['state']}", ""]
    lines += [f"  {'key':<12} {document['trial_key']}"]
    lines += [f"  {name:<12} {value}" for name, value in document["axes"].items() if value is not None]
    lines += ["", "stages that it is made of", f"  {'kind':<12} {'key':<12}  {'digest':<12}  {'size':>9}  made"]
    lines += [_stage_line(stage) for stage in document["stages"]]
    if document["defence"]:
        told = defence_words([document["defence"]])
        lines += ["", f"defence {document['defence']['kind']}: {told}", *(f"  {words}" for words in protects([document["defence"]]))]
    if document["metrics"]:
        lines += ["", "attacks: before → after fine-tuning, difference (95 % interval), verdict"]
    for attack, measures in document["metrics"].items():
        lines += ["", f"{attack}: {measures['n_member']} members, {measures['n_non_member']} non-members"]
        lines += [f"  {chosen_words(document['chosen'][attack])}"] if attack in document["chosen"] else []
        lines += [_metric_line(name, values) for name, values in sorted(measures["metrics"].items())]
        lines += [f"  warning: {warning['message']}" for warning in measures["warnings"]]
    for failure in document["failures"]:
        lines += ["", *_failure_lines(failure)]
    return "\n".join(lines if width is None else [_wrapped(line, width) for line in lines])


def _wrapped(line: str, width: int) -> str:
    if line.startswith(_TRACE):
        return line
    return "\n".join(textwrap.wrap(line, max(width, 40), subsequent_indent=_TRACE, break_on_hyphens=False)) or line


def _stage_line(stage: dict[str, Any]) -> str:
    line = f"  {stage['kind']:<12} {stage['key'][:12]}"
    attack = [stage["attack"]] if "attack" in stage else []
    if not stage["committed"]:
        return f"{line}  {', '.join(['not there yet', *attack])}"
    made = stage["made"]
    facts = [*attack, *(str(made[name]) for name in ("at", "host", "device") if made.get(name))]
    facts += [f"{made['seconds']:.1f} s"] if "seconds" in made else []
    if "network_calls" in made:
        facts.append(f"{made['network_calls']} network calls an image for {plural(made['attacks_together'], 'attack')} together")
    facts += [f"{stage['rejected']} of {stage['asked']} images rejected by the safety checker"] if "rejected" in stage else []
    return f"{line}  {stage['digest'][:12]}  {size(stage['size']):>9}  {', '.join(facts)}".rstrip()


def _metric_line(name: str, values: dict[str, Any]) -> str:
    levels = f"{number(values['before'])} → {number(values['after'])}"
    change = f"{signed(values['delta'])} ({interval(values['delta_low'], values['delta_high'])})"
    return f"  {name:<18} {levels}  {change}  {MARKS[values['verdict']]} {values['verdict']}"


def _failure_lines(failure: dict[str, Any]) -> list[str]:
    where = f"{failure['class']} on {failure['host'] or 'an unknown host'}"
    facts = [f"at {failure['at']}"] if failure["at"] else []
    facts += [f"{failure['tries']} tries"] if failure["tries"] > 1 else []
    facts += [f"the last in pieces of {failure['micro_batch']}"] if failure["micro_batch"] else []
    facts += [f"taken up again at {failure['tried_again']}"] if failure["tried_again"] else []
    return [
        ", ".join([f"failed: {failure['kind']} {failure['key'][:12]}, attempt {failure['attempt']}, {where}", *facts]),
        f"  {first_line(failure['message'])}",
        f"  next: {next_step(failure['class'], failure['message'])}",
        *(f"{_TRACE}{line}" for line in failure["traceback"].strip().splitlines()),
    ]


def size(count: float) -> str:
    """Bytes in a unit that reads well."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
