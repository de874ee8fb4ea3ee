"""Attacks of a grid file: by preset name, as mappings, or chosen on calibration domains among several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jobs.grid.choose import ChooseAttack, GridAttack
from jobs.grid.messages import listed, show, unknown
from jobs.grid.model import Named
from jobs.grid.read_prompts import nonempty_list
from jobs.grid.read_spec import kinds_of, read_member
from s2l_core.specs.attacks import ATTACK_PRESETS, AnyAttack, AttackSpec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_CHOICE_KEYS = ("kind", "among", "of", "on", "name")
_EXAMPLE = "{kind: choose, of: secmi, t: [60, 100, 140], on: [DOMAIN, DOMAIN]}"


def read_attacks(raw: Any) -> Named:
    """Name -> attack, sorted by name."""
    attacks: dict[str, AnyAttack | ChooseAttack] = {}
    for number, one in enumerate(nonempty_list(raw, "attacks by name, such as [secmi, loss]")):
        name, spec = _read_attack(one, f"[{number}]")
        if name in attacks:
            raise ValueError(f"the attack {show(name)} is named twice; give one of them another `name`")
        same = next((other for other, theirs in attacks.items() if theirs == spec), None)
        if same:
            raise ValueError(f"the attacks {show(same)} and {show(name)} are the same; leave one out")
        attacks[name] = spec
    return Named(",".join(attacks), dict(sorted(attacks.items())))


def _read_attack(raw: Any, what: str) -> tuple[str, AnyAttack | ChooseAttack]:
    if isinstance(raw, str):
        return raw, _preset(raw)
    given = None
    if isinstance(raw, Mapping) and "name" in raw:
        given = raw["name"]
        if not isinstance(given, str) or not _NAME.fullmatch(given):
            raise ValueError(f"{what}.name: got {show(given)}; letters, digits and any of . _ + - are allowed")
        raw = {key: value for key, value in raw.items() if key != "name"}
    if isinstance(raw, Mapping) and raw.get("kind") == "choose":
        choice = _read_choice(raw, what)
        return given or _chosen_name(choice), choice
    spec: AnyAttack = read_member(GridAttack, raw, what)
    return given or _told(spec), spec


def _preset(name: str, where: str = "") -> AnyAttack:
    if name not in ATTACK_PRESETS:
        raise ValueError(where + unknown("attack", name, ATTACK_PRESETS))
    return ATTACK_PRESETS[name]


def _told(spec: AnyAttack) -> str:
    """The kind and what was given: `secmi-t60`."""
    given = {
        key: value for key, value in spec.model_dump(mode="json").items() if value != type(spec).model_fields[key].default and key != "kind"
    }
    parts = (f"{key}{'.'.join(map(str, value)) if isinstance(value, list) else value}" for key, value in sorted(given.items()))
    return "-".join([spec.kind, *parts])


# --- chosen on calibration domains ---


def _chosen_name(choice: ChooseAttack) -> str:
    """`secmi-chosen`, or `chosen` among several kinds: the name does not change with what is tried, nor with where."""
    kinds = {attack.kind for attack in choice.among}
    return f"{kinds.pop()}-chosen" if len(kinds) == 1 else "chosen"


def _read_choice(raw: Mapping[Any, Any], what: str) -> ChooseAttack:
    if ("among" in raw) == ("of" in raw):
        raise ValueError(f"{what}: a choice has either `among`, a list of attacks, or `of`, an attack with one knob as a list: {_EXAMPLE}")
    among = _among(raw, what) if "among" in raw else _spread(raw, what)
    for number, attack in enumerate(among):
        if attack in among[:number]:
            raise ValueError(f"{what}: candidates {among.index(attack) + 1} and {number + 1} are the same; leave one out")
    if len(among) < 2:
        raise ValueError(f"{what}: a choice needs two candidates or more; got one: write the attack itself, or give another")
    return ChooseAttack(among=tuple(among), on=_domains(raw.get("on"), what))


def _among(raw: Mapping[Any, Any], what: str) -> list[AnyAttack]:
    for key in raw:
        if key not in _CHOICE_KEYS:
            raise ValueError(f"{what}: {unknown('key', key, [name for name in _CHOICE_KEYS if name != 'of'])}")
    given = raw["among"]
    if not isinstance(given, list) or not given:
        raise ValueError(f"{what}.among: got {show(given)}; it must be a list of attacks, such as [secmi, {{kind: secmi, t: 60}}]")
    return [_candidate(one, f"{what}.among[{number}]") for number, one in enumerate(given)]


def _spread(raw: Mapping[Any, Any], what: str) -> list[AnyAttack]:
    """One attack for each value of the knob that is a list."""
    first = _candidate(raw["of"], f"{what}.of")
    given = {key: value for key, value in raw.items() if key not in _CHOICE_KEYS}
    if len(given) != 1:
        told = f"got {listed(given)}" if given else "got none"
        raise ValueError(f"{what}: with `of`, one knob of {first.kind} is a list of values to try; {told}; knobs: {listed(first.knobs)}")
    ((knob, values),) = given.items()
    if knob not in first.knobs:
        raise ValueError(f"{what}: {unknown(f'knob of {first.kind}', knob, first.knobs)}")
    if not isinstance(values, list):
        raise ValueError(f"{what}.{knob}: got {show(values)}; it must be a list of values to try")
    rest = first.model_dump(mode="json", exclude={knob})
    return [read_member(AttackSpec, {**rest, knob: value}, what) for value in values]


def _candidate(raw: Any, what: str) -> AnyAttack:
    if isinstance(raw, str):
        return _preset(raw, f"{what}: ")
    if isinstance(raw, Mapping) and raw.get("kind") == "choose":
        raise ValueError(f"{what}: a choice is no candidate of another; give attacks of the kinds {listed(kinds_of(AttackSpec))}")
    spec: AnyAttack = read_member(AttackSpec, raw, what)
    return spec


def _domains(raw: Any, what: str) -> tuple[str, ...]:
    """The calibration domains, sorted: in which order they are written means nothing."""
    if not isinstance(raw, list) or not raw or not all(isinstance(one, str) and one for one in raw):
        other = isinstance(raw, list) and any(not isinstance(one, str) for one in raw)
        hint = " (quote a name that YAML reads as something else)" if other else ""
        raise ValueError(f"{what}.on: got {show(raw)}; it must be a list of domains of the data set that the grid does not attack{hint}")
    twice = next((one for number, one in enumerate(raw) if one in raw[:number]), None)
    if twice is not None:
        raise ValueError(f"{what}.on: {twice} is given twice; leave one out")
    return tuple(sorted(raw))
