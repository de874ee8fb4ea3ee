"""How the attacks of a grid were set: what each is, what it needs, its knobs, and whether they were fixed or chosen on other domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from dashboards.conditions import split
from dashboards.results import document_of
from dashboards.words import listed, plural, value_words
from jobs.grid.read_spec import told_spec
from jobs.ledger.ledger import Ledger
from jobs.plan.graph import Node
from jobs.plan.plan import Plan, Trial
from jobs.stages.specs import CaptionsStage, ChoiceStage, DataStage, ScoreStage
from s2l_core.specs.attacks import ATTACK_PRESETS, AnyAttack, ChosenAttack, attack_of
from s2l_core.specs.base import Spec
from s2l_core.specs.captions import AutomaticCaption, DomainPrompt, NullCaption, OwnCaption, ReplaceName

ACCESS = {"black-box": "black-box: drawn images", "eps": "eps: the predicted noise", "gradients": "gradients of the weights"}
SHOWN_CANDIDATES = 8


@dataclass(frozen=True)
class AttackRow:
    """One attack of the grid, in words; `of` says which of several models or data sets a choice was made for."""

    name: str
    of: str
    what: str
    access: str
    calls: str
    sign: str
    source: str
    knobs: list[str]
    prompts: str
    how: str


@dataclass
class _Use:
    """One attack as the grid uses it: by that name, and after one choice where it is chosen."""

    name: str
    score: ScoreStage
    choice: Node | None
    prompts: dict[str, None] = field(default_factory=dict)
    places: dict[str, None] = field(default_factory=dict)


def attack_settings(plan: Plan, ledger: Ledger) -> list[AttackRow]:
    """One row an attack; several where an attack is chosen for several models, data sets or policies of prompts."""
    uses = _uses(plan)
    names = [use.name for use in uses]
    return [_row(use, ledger, several=names.count(use.name) > 1) for use in uses]


def _uses(plan: Plan) -> list[_Use]:
    found: dict[tuple[str, str], _Use] = {}
    for trial in plan.trials:
        for name, node in trial.metrics.items():
            before, after = node.parent("before"), node.parent("after")
            if before is None or after is None or split(name)[1] or not isinstance(before.spec, ScoreStage):
                continue
            choice = before.parent("choice")
            use = found.setdefault((name, choice.key if choice else ""), _Use(name, before.spec, choice))
            use.prompts[_prompts(before, after)] = None
            use.places[_place(trial)] = None
    return list(found.values())


def _place(trial: Trial) -> str:
    return ", ".join(value_words(trial.axes[axis]) for axis in ("model", "data") if trial.axes.get(axis) is not None)


def _prompts(before: Node, after: Node) -> str:
    """The policy; the same for members and non-members."""
    shown, shown_after = before.spec, after.spec
    assert isinstance(shown, ScoreStage)
    assert isinstance(shown_after, ScoreStage)
    match shown.caption:
        case OwnCaption():
            told = "each image's own caption"
        case DomainPrompt(template=template):
            told = f"one for the domain: “{template}”"
        case NullCaption():
            told = "none"
        case AutomaticCaption():
            told = f"what a captioner ({_captioner(before)}) says of the image"
        case ReplaceName():
            told = "each image's own caption with a token in the name's place"
        case _:
            assert_never(shown.caption)
    tokens = isinstance(shown_after.caption, ReplaceName) or shown_after.name != shown.name
    return f"{told}; where a token was trained, with it in the name's place" if tokens else told


def _captioner(score: Node) -> str:
    captions = score.parent("captions")
    assert captions is not None
    assert isinstance(captions.spec, CaptionsStage)
    return told_spec(captions.spec.captioner)


# --- in words ---


def _row(use: _Use, ledger: Ledger, *, several: bool) -> AttackRow:
    document = _read(ledger, use.choice) if use.choice is not None else None
    if use.choice is None:
        assert not isinstance(use.score.attack, ChosenAttack), "a choice is its parent"
        attacks, how = [use.score.attack], ""
    elif document is None:
        attacks, how = list(_candidates(use.choice)), _to_be_chosen(use.choice)
    else:
        attacks, how = [attack_of(document["attack"])], chosen_words(document)
    calls = sorted({attack.calls for attack in attacks})
    return AttackRow(
        name=use.name,
        of=listed(list(use.places)) if several and any(use.places) else "",
        what=_each(f"{attack.title}: {attack.looks_at}" for attack in attacks),
        access=_each(ACCESS[attack.access] for attack in attacks),
        calls=plural(calls[0], "call") if len(calls) == 1 else f"{calls[0]} to {calls[-1]} calls",
        sign=_each(attack.sign for attack in attacks),
        source=_each(attack.source for attack in attacks),
        knobs=_knobs(attacks[0]) if len(attacks) == 1 else ["not chosen yet"],
        prompts="; or ".join(use.prompts),
        how=how or _fixed(attacks[0]),
    )


def _each(words: Any) -> str:
    return "; or ".join(dict.fromkeys(words))


def _knobs(attack: AnyAttack) -> list[str]:
    """`t = 60 (default 100)`."""
    defaults = type(attack)().knobs
    return [
        f"{name} = {_value(value)}" + ("" if value == defaults[name] else f" (default {_value(defaults[name])})")
        for name, value in attack.knobs.items()
    ]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_value, value)) if isinstance(value, list | tuple) else value_words(value)


def _fixed(attack: AnyAttack) -> str:
    if attack == type(attack)():
        return "fixed beforehand: the defaults"
    preset = next((name for name, spec in ATTACK_PRESETS.items() if spec == attack), None)
    return f"fixed beforehand: the preset {preset}" if preset else "fixed in the grid file"


# --- choices ---


def choice_of(ledger: Ledger, metrics: Node) -> dict[str, Any] | None:
    """What the choice came to that a metrics stage's attack hangs on; None without one, and before it is made."""
    before = metrics.parent("before")
    choice = before.parent("choice") if before is not None else None
    return _read(ledger, choice) if choice is not None else None


def _read(ledger: Ledger, choice: Node) -> dict[str, Any] | None:
    return document_of(ledger, choice, "choice.json")


def chosen_words(document: dict[str, Any]) -> str:
    """`chosen on bo, cy: mean AUC 0.834 (t = 20) against 0.677 (t = 60)`."""
    attacks = [attack_of(each["attack"]) for each in document["candidates"]]
    told = [f"{each['mean_auc']:.3f} ({label})" for each, label in zip(document["candidates"], labels(attacks), strict=True)]
    best = told.pop(document["chosen"])
    more = [f"{len(told) - SHOWN_CANDIDATES} more"] if len(told) > SHOWN_CANDIDATES else []
    mean = "mean AUC" if len(document["domains"]) > 1 else "AUC"
    return f"chosen on {', '.join(document['domains'])}: {mean} {best} against {', '.join([*told[:SHOWN_CANDIDATES], *more])}"


def labels(attacks: Sequence[AnyAttack]) -> list[str]:
    """What sets each candidate apart: the knobs in which they differ, where they are of one kind."""
    if len({attack.kind for attack in attacks}) > 1:
        return [_with_knobs(attack) for attack in attacks]
    differing = [name for name, value in attacks[0].knobs.items() if any(attack.knobs[name] != value for attack in attacks)]
    return [", ".join(f"{name} = {_value(attack.knobs[name])}" for name in differing) for attack in attacks]


def _with_knobs(attack: AnyAttack) -> str:
    """`loss with timesteps = 20, draws = 1`: the kind and what is not its default."""
    defaults = type(attack)().knobs
    told = [f"{name} = {_value(value)}" for name, value in attack.knobs.items() if value != defaults[name]]
    return f"{attack.kind} with {', '.join(told)}" if told else attack.kind


def _candidates(choice: Node) -> tuple[AnyAttack, ...]:
    spec: Spec = choice.spec
    assert isinstance(spec, ChoiceStage)
    return spec.candidates


def _to_be_chosen(choice: Node) -> str:
    attacks = _candidates(choice)
    data = [score.parent("data") for _, score in choice.parents]
    domains = dict.fromkeys(_domain(node.spec) for node in data if node is not None and isinstance(node.spec, DataStage))
    return f"to be chosen on {', '.join(domains)} among {'; '.join(labels(attacks))}"


def _domain(spec: DataStage) -> str:
    return str(getattr(spec.source, "identity", None) or getattr(spec.source, "domain", ""))
