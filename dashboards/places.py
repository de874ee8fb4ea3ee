"""Where a trial stands in its grid: whose images are attacked, what part it plays, and what sets it apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from dashboards.words import setting_words
from jobs.keys import canonical_json
from jobs.plan.plan import Plan, Trial
from jobs.stages.specs import DataStage, DrawnFaces

Role = Literal["method", "transfer", "members", "defended-members", "unrelated", "matched-noise", "no-shake"]
Change = Literal["trained", "noise", "nothing"]

APART = ("domain", "attack_domain", "seed", "method", "train_on")
"""Axes that are no part of a variant's name: they are said elsewhere, or pooled over. So are all other seeds."""

OF_THE_ATTACK = ("attacks", "caption", "fprs", "bootstrap")
"""Axes that change how a model is looked at, and not the model."""


class Setting(NamedTuple):
    """An axis's value, and how both are said; no two values of an axis are said alike."""

    name: str
    value: Any
    words: str


@dataclass(frozen=True)
class Place:
    """Where a trial stands in its grid.

    Attributes:
        domain: whose images are attacked.
        role: `method`: its own leakage; `transfer`: fine-tuned for another domain than the attacked one; the rest are controls.
        method: the method's name.
        settings: the axes that set it apart, in the grid's order.
        trained_on: the domain that the model was fine-tuned for, where that is not the attacked one; else empty.
        change: what was done to the weights.
    """

    domain: str
    role: Role
    method: str
    settings: tuple[Setting, ...] = ()
    trained_on: str = ""
    change: Change = "trained"

    @property
    def variant(self) -> str:
        """The method in words with all that sets it apart: `lora+dreambooth, rank 8, alpha = rank`."""
        return self.without()

    @property
    def change_words(self) -> str:
        """What was done to the model, in words: the variant, less what is the attack's own."""
        return self.without(*OF_THE_ATTACK)

    def without(self, *axes: str) -> str:
        """The variant, less these axes."""
        return ", ".join([self.method, *(setting.words for setting in self.settings if setting.name not in axes)])

    def setting(self, axis: str) -> Setting | None:
        return next((setting for setting in self.settings if setting.name == axis), None)


def apart(axis: str) -> bool:
    """True for an axis that is no part of a variant's name."""
    return axis in APART or axis.endswith("_seed")


def axis_names(plan: Plan) -> list[str]:
    """The axes of a plan in the grid's order, then any that only some trials have."""
    names = dict.fromkeys(plan.axes)
    for trial in plan.trials:
        names.update(dict.fromkeys(trial.axes))
    return list(names)


def places(plan: Plan) -> dict[str, Place]:
    """Trial key -> its place, for all trials of a plan."""
    fixed = plan.document.get("fixed", {})
    parts = {trial.key: (_role(trial, fixed), _method(trial, fixed)) for trial in plan.trials}
    shown = [name for name in axis_names(plan) if not apart(name)]
    varying = _varying(plan.trials, shown)
    family: dict[tuple[Role, str], list[Trial]] = {}
    for trial in plan.trials:
        family.setdefault(parts[trial.key], []).append(trial)
    varying_in = {part: _varying(members, shown) for part, members in family.items()}
    said = {name: _said(name, [trial.axes.get(name) for trial in plan.trials]) for name in varying}
    return {
        trial.key: _place(trial, fixed, *parts[trial.key], said, varying if _draws(trial) else varying_in[parts[trial.key]])
        for trial in plan.trials
    }


def _said(axis: str, values: Iterable[Any]) -> dict[str, str]:
    """Canonical value -> its words; values that are cut to the same words are numbered."""
    said: dict[str, str] = {}
    for value in values:
        key, words = canonical_json(value), setting_words(axis, value)
        if key not in said:
            alike = sum(1 for other in said.values() if other == words or other.startswith(f"{words} ("))
            said[key] = f"{words} ({alike + 1})" if alike else words
    return said


def _varying(trials: Sequence[Trial], axes: Sequence[str]) -> list[str]:
    return [axis for axis in axes if len({canonical_json(trial.axes[axis]) for trial in trials if trial.axes.get(axis) is not None}) > 1]


def _draws(trial: Trial) -> bool:
    """True when the trial is trained on an SP set. Points that differ only in what a trial does without (the SP set, the training) are
    one trial, which carries the first point's values: they are part of its name only where they set it apart from its own like."""
    train = trial.shake.parent("train") if trial.shake is not None else None
    return train is not None and train.kind == "sp"


def _place(
    trial: Trial, fixed: Mapping[str, Any], role: Role, method: str, said: Mapping[str, Mapping[str, str]], shown: Iterable[str]
) -> Place:
    given = [(name, trial.axes[name]) for name in shown if trial.axes.get(name) is not None]
    settings = tuple(Setting(name, value, said[name][canonical_json(value)]) for name, value in given)
    attacked, own = _attacked(trial), _value(trial, fixed, "domain")
    if role != "transfer":
        return Place(attacked, role, method, settings, change=_change(trial))
    train_on = _value(trial, fixed, "train_on") or "sp"
    settings += (Setting("train_on", train_on, setting_words("train_on", train_on)),) if train_on != "sp" else ()
    return Place(attacked, role, method, settings, trained_on=str(own), change=_change(trial))


def _value(trial: Trial, fixed: Mapping[str, Any], axis: str) -> Any:
    value = trial.axes.get(axis)
    return trial.settled.get(axis, fixed.get(axis)) if value is None else value


def _method(trial: Trial, fixed: Mapping[str, Any]) -> str:
    method = _value(trial, fixed, "method") or "method"
    return str(method.get("name") or canonical_json(method)) if isinstance(method, dict) else str(method)


def _attacked(trial: Trial) -> str:
    """The domain whose images the trial's scores are of; other domains' images may be among what its shake hangs on."""
    after = next((node.parent("after") for node in trial.metrics.values()), None)
    data = after.parent("data") if after is not None else None
    if data is None or not isinstance(data.spec, DataStage):
        return str(trial.axes.get("domain", ""))
    source = data.spec.source
    return source.identity if isinstance(source, DrawnFaces) else str(getattr(source, "domain", ""))


# --- the part a trial plays ---


def _role(trial: Trial, fixed: Mapping[str, Any]) -> Role:
    if trial.shake is None:
        return "no-shake"
    if trial.shake.parent("match") is not None:
        return "matched-noise"
    if _change(trial) == "noise":
        return "method"
    own = _value(trial, fixed, "domain")
    if own is not None and str(own) != _attacked(trial):
        return "transfer"
    train = trial.shake.parent("train")
    if train is not None and train.kind == "data":
        return "members" if getattr(trial.shake.spec, "defence", None) is None else "defended-members"
    unrelated = "unrelated" in (_value(trial, fixed, "train_on"), _value(trial, fixed, "sp_prompts"))
    return "unrelated" if unrelated else "method"


def _change(trial: Trial) -> Change:
    """Noise needs no images: such a shake has nothing that it was trained on."""
    if trial.shake is None:
        return "nothing"
    return "noise" if trial.shake.parent("train") is None else "trained"
