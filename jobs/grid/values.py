"""One value of one field, checked and made canonical. Every error is a ValueError in the user's words, without its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from jobs.grid.messages import explain, listed, show
from jobs.grid.model import Named, Point
from jobs.grid.read_attacks import read_attacks
from jobs.grid.read_caption import read_caption
from jobs.grid.read_defence import read_defence
from jobs.grid.read_extraction import read_extraction
from jobs.grid.read_fidelity import read_fidelity, read_flag
from jobs.grid.read_memorisation import read_memorisation
from jobs.grid.read_method import read_match_method, read_method
from jobs.grid.read_prompts import nonempty_list, read_prompts, read_tokens
from jobs.grid.read_spec import canonical, read_spec
from s2l_core.specs.objectives import PriorPreservation


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
        "sigma": "it must be a number of at least 0, or the word match",
        "clip": "it must be a number greater than 0, or the word none",
        "ema": "it must be a number between 0 and 1, or the word none",
        "snr_gamma": "it must be a number greater than 0, or the word none",
        "domain": "it must be text; quote it if YAML reads it as something else",
    }
    if name in words:
        return words[name]
    kind = str(Point.model_fields[name].annotation)
    return "it must be a whole number" if "int" in kind else "it must be a number" if "float" in kind else "it must be text"


# --- structured values ---


def _read_fprs(raw: Any) -> Named:
    values: list[float] = []
    for number, one in enumerate(nonempty_list(raw, "rates between 0 and 1")):
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


def _read_prior(raw: Any) -> Named:
    if isinstance(raw, bool):
        return Named(raw, PriorPreservation() if raw else None)
    if not isinstance(raw, Mapping):
        raise ValueError(f"got {show(raw)}; it must be true, false, or a mapping with {listed(PriorPreservation.model_fields)}")
    prior = read_spec(PriorPreservation, raw, "prior")
    if "{" in prior.class_prompt:
        raise ValueError(f"prior.class_prompt: got {show(prior.class_prompt)}; class images are shared by all domains, so no braces here")
    return Named(canonical(prior.model_dump(mode="json")), prior)


_READERS: dict[str, Callable[[Any], Any]] = {
    "method": read_method,
    "match_method": read_match_method,
    "attacks": read_attacks,
    "fprs": _read_fprs,
    "sp_prompts": read_prompts,
    "tokens": read_tokens,
    "prior": _read_prior,
    "caption": read_caption,
    "safety_checker": read_flag,
    "fidelity": read_fidelity,
    "extraction": read_extraction,
    "memorisation": read_memorisation,
    "defence": read_defence,
}
