"""One value of one field, checked and made canonical. Every error is a ValueError in the user's words, without its place."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from jobs.grid.messages import explain, listed, show, unknown
from jobs.grid.model import MethodSpec, Named, Point
from jobs.grid.presets import METHODS, METHODS_TO_COME, PROMPTS
from s2l_core.specs.adapters import AdapterSpec, NoAdapter
from s2l_core.specs.attacks import ATTACK_PRESETS, AttackSpec
from s2l_core.specs.base import Spec
from s2l_core.specs.captions import CaptionSpec, DomainPrompt, NullCaption, OwnCaption
from s2l_core.specs.objectives import DreamBoothObjective, ObjectiveSpec, PriorPreservation
from s2l_core.specs.synthesis import PromptTemplate

_CAPTIONS = {"own": OwnCaption(), "domain": DomainPrompt(), "null": NullCaption()}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def read_value(name: str, raw: Any) -> Any:
    """The canonical value of a field: a JSON scalar, or a `Named` for what is structured.

    Raises:
        ValueError: what is wrong, what was given, what is allowed.
    """
    reader = _READERS.get(name)
    return reader(raw) if reader else _read_scalar(name, raw)


def _read_scalar(name: str, raw: Any) -> Any:
    annotation = Point.model_fields[name]
    if isinstance(raw, bool):
        raise ValueError(f"got {show(raw)}; {_expected(name)}")
    try:
        return _adapter(name).validate_python(raw)
    except ValidationError as error:
        details = error.errors(include_url=False)
        if len(details) > 1 or annotation.annotation is None:
            raise ValueError(f"got {show(raw)}; {_expected(name)}") from None
        raise ValueError(explain(details[0])) from None


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    info = Point.model_fields[name]
    annotated: Any = info.annotation
    for constraint in info.metadata:
        annotated = Annotated[annotated, constraint]
    return TypeAdapter(annotated, config=ConfigDict(allow_inf_nan=False))


def _expected(name: str) -> str:
    words = {
        "alpha": "it must be a number greater than 0, or the word rank",
        "domain": "it must be text; quote it if YAML reads it as something else",
    }
    if name in words:
        return words[name]
    kind = str(Point.model_fields[name].annotation)
    return "it must be a whole number" if "int" in kind else "it must be a number" if "float" in kind else "it must be text"


# --- structured values ---


def kinds_of(union: Any) -> dict[str, type[Spec]]:
    """kind -> class of a discriminated union of specs."""
    classes: Any = get_args(get_args(union)[0])
    return {str(cls.model_fields["kind"].default): cls for cls in classes}


def read_spec(cls: type[BaseModel], raw: Any, what: str) -> Any:
    """A mapping as a spec of that class; unknown keys are told with the nearest spelling."""
    if not isinstance(raw, Mapping):
        raise ValueError(f"{what}: got {show(raw)}; it must be a mapping with {listed(cls.model_fields)}")
    for key in raw:
        if key not in cls.model_fields:
            raise ValueError(f"{what}: {unknown('key', key, cls.model_fields)}")
    try:
        return cls.model_validate(dict(raw))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise ValueError(f"{what}{where}: {explain(first)}") from None


def read_member(union: Any, raw: Any, what: str) -> Any:
    """A mapping with `kind` as the member of a union."""
    kinds = kinds_of(union)
    if not isinstance(raw, Mapping):
        raise ValueError(f"{what}: got {show(raw)}; it must be a mapping with a `kind`: {listed(kinds)}")
    if "kind" not in raw:
        raise ValueError(f"{what}: `kind` is missing; allowed: {listed(kinds)}")
    if raw["kind"] not in kinds:
        raise ValueError(f"{what}: {unknown('kind', raw['kind'], kinds)}")
    return read_spec(kinds[raw["kind"]], raw, what)


def _read_method(raw: Any) -> Named:
    if isinstance(raw, Mapping):
        spec = _spelled_method(raw)
        return Named(spec.name or "+".join(map(_told_spec, (*spec.adapters, spec.objective))), spec)
    if raw in METHODS_TO_COME:
        raise ValueError(f"the method {show(raw)} is not available yet; available: {listed(METHODS)}")
    if not isinstance(raw, str) or raw not in METHODS:
        raise ValueError(unknown("method", raw, METHODS) + ("" if isinstance(raw, str) else "; or a mapping with adapters and objective"))
    preset = METHODS[raw]
    return Named(raw, MethodSpec(name=raw, adapters=preset.adapters, objective=preset.objective))


def _told_spec(spec: Spec) -> str:
    """The kind and what differs from its defaults: equal texts mean equal specs."""
    told = {name: value for name, value in spec.model_dump(mode="json", exclude_defaults=True).items() if name != "kind"}
    kind = str(spec.kind)  # type: ignore[attr-defined]
    return f"{kind}({','.join(f'{name}={_canonical(value)}' for name, value in sorted(told.items()))})" if told else kind


def _spelled_method(raw: Mapping[str, Any]) -> MethodSpec:
    for key in raw:
        if key not in MethodSpec.model_fields:
            raise ValueError(unknown("key of a method", key, MethodSpec.model_fields))
    name = raw.get("name")
    if isinstance(name, str) and (name in METHODS or name in METHODS_TO_COME):
        raise ValueError(f"name: got {show(raw['name'])}, which is a preset's name; choose another")
    adapters = raw.get("adapters")
    if not isinstance(adapters, list) or not adapters:
        raise ValueError(f"adapters: got {show(adapters)}; it must be a list of mappings with a `kind`: {listed(kinds_of(AdapterSpec))}")
    read: dict[str, Any] = {"adapters": tuple(read_member(AdapterSpec, one, f"adapters[{number}]") for number, one in enumerate(adapters))}
    if len(adapters) > 1 and any(isinstance(one, NoAdapter) for one in read["adapters"]):
        raise ValueError("adapters: `none` stands alone; leave it out where something is trained")
    if "objective" in raw:
        read["objective"] = read_member(ObjectiveSpec, raw["objective"], "objective")
        if isinstance(read["objective"], DreamBoothObjective):
            check_template(read["objective"].instance_prompt, "objective.instance_prompt")
    spec: MethodSpec = read_spec(MethodSpec, {**raw, **read}, "method")
    return spec


def _read_attacks(raw: Any) -> Named:
    attacks: dict[str, AttackSpec] = {}
    for number, one in enumerate(_nonempty_list(raw, "attacks by name, such as [secmi, loss]")):
        name, spec = _read_attack(one, f"[{number}]")
        if name in attacks:
            raise ValueError(f"the attack {show(name)} is named twice; give one of them another `name`")
        same = next((other for other, theirs in attacks.items() if theirs == spec), None)
        if same:
            raise ValueError(f"the attacks {show(same)} and {show(name)} are the same; leave one out")
        attacks[name] = spec
    return Named(",".join(attacks), dict(sorted(attacks.items())))


def _read_attack(raw: Any, what: str) -> tuple[str, Any]:
    if isinstance(raw, str):
        if raw not in ATTACK_PRESETS:
            raise ValueError(unknown("attack", raw, ATTACK_PRESETS))
        return raw, ATTACK_PRESETS[raw]
    if isinstance(raw, Mapping) and "name" in raw:
        name = raw["name"]
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{what}.name: got {show(name)}; letters, digits and any of . _ + - are allowed")
        return name, read_member(AttackSpec, {key: value for key, value in raw.items() if key != "name"}, what)
    spec = read_member(AttackSpec, raw, what)
    given = {
        key: value for key, value in spec.model_dump(mode="json").items() if value != type(spec).model_fields[key].default and key != "kind"
    }
    parts = (f"{key}{'.'.join(map(str, value)) if isinstance(value, list) else value}" for key, value in sorted(given.items()))
    return "-".join([spec.kind, *parts]), spec


def _read_fprs(raw: Any) -> Named:
    values: list[float] = []
    for number, one in enumerate(_nonempty_list(raw, "rates between 0 and 1")):
        try:
            value = float("x" if isinstance(one, bool) else one)
        except (TypeError, ValueError):
            raise ValueError(f"[{number}]: got {show(one)}; it must be a number between 0 and 1") from None
        if not 0 < value < 1:
            raise ValueError(f"[{number}]: got {show(one)}; it must be between 0 and 1 (1 % is 0.01)")
        if f"{value:g}" in [f"{other:g}" for other in values]:
            raise ValueError(f"[{number}]: {show(one)} is given twice, as far as six digits tell")
        values.append(value)
    values.sort(reverse=True)
    return Named(",".join(map(str, values)), tuple(values))


def _read_prompts(raw: Any) -> Named:
    if isinstance(raw, str):
        if raw not in PROMPTS:
            raise ValueError(unknown("prompt preset", raw, PROMPTS) + "; or a list of texts with {name}")
        return Named(raw, PROMPTS[raw])
    prompts = []
    for number, one in enumerate(_nonempty_list(raw, "texts with {name}, or a preset's name")):
        prompt = read_spec(PromptTemplate, {"text": one} if isinstance(one, str) else one, f"[{number}]")
        check_template(prompt.text, f"[{number}]")
        prompts.append(prompt)
    return Named(_canonical([prompt.model_dump(mode="json") for prompt in prompts]), tuple(prompts))


def check_template(text: str, what: str) -> None:
    """Raise a ValueError unless `{name}` is the one placeholder of the text."""
    try:
        places = {place for _, place, _, _ in string.Formatter().parse(text) if place is not None}
    except ValueError:
        places = {"?"}
    if places != {"name"}:
        raise ValueError(f"{what}: got {show(text)}; a prompt holds {{name}} for the domain's name, and no other braces")


def _read_prior(raw: Any) -> Named:
    if isinstance(raw, bool):
        return Named(raw, PriorPreservation() if raw else None)
    if not isinstance(raw, Mapping):
        raise ValueError(f"got {show(raw)}; it must be true, false, or a mapping with {listed(PriorPreservation.model_fields)}")
    prior = read_spec(PriorPreservation, raw, "prior")
    if "{" in prior.class_prompt:
        raise ValueError(f"prior.class_prompt: got {show(prior.class_prompt)}; class images are shared by all domains, so no braces here")
    return Named(_canonical(prior.model_dump(mode="json")), prior)


def _read_caption(raw: Any) -> Named:
    if isinstance(raw, Mapping):
        caption = read_member(CaptionSpec, raw, "caption")
        if isinstance(caption, DomainPrompt):
            check_template(caption.template, "caption.template")
        name = next((name for name, spec in _CAPTIONS.items() if spec == caption), None)
        return Named(name or _canonical(caption.model_dump(mode="json")), caption)
    raw = "null" if raw is None else raw
    if not isinstance(raw, str) or raw not in _CAPTIONS:
        raise ValueError(unknown("caption", raw, _CAPTIONS))
    return Named(raw, _CAPTIONS[raw])


def _nonempty_list(raw: Any, of_what: str) -> list[Any]:
    if not isinstance(raw, list) or not raw:
        raise ValueError(f"got {show(raw)}; it must be a list of {of_what}")
    return raw


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


_READERS: dict[str, Callable[[Any], Any]] = {
    "method": _read_method,
    "attacks": _read_attacks,
    "fprs": _read_fprs,
    "sp_prompts": _read_prompts,
    "prior": _read_prior,
    "caption": _read_caption,
}
