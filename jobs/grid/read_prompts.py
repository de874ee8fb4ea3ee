"""Prompts and tokens of a grid file: presets by name, or lists of texts."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from jobs.grid.messages import explain, show, unknown
from jobs.grid.model import Named
from jobs.grid.presets import PROMPTS
from jobs.grid.read_spec import canonical, placeholders, read_spec
from s2l_core.specs.adapters import TextualInversionAdapter
from s2l_core.specs.synthesis import PromptTemplate


def nonempty_list(raw: Any, of_what: str) -> list[Any]:
    """The list, or a ValueError that says what it should hold."""
    if not isinstance(raw, list) or not raw:
        raise ValueError(f"got {show(raw)}; it must be a list of {of_what}")
    return raw


def read_prompts(raw: Any) -> Named:
    """Prompts of an SP set; a prompt may do without `{name}`."""
    if isinstance(raw, str):
        if raw not in PROMPTS:
            raise ValueError(unknown("prompt preset", raw, PROMPTS) + "; or a list of texts with {name}")
        return Named(raw, PROMPTS[raw].prompts)
    prompts = []
    for number, one in enumerate(nonempty_list(raw, "texts with {name}, or a preset's name")):
        prompt = read_spec(PromptTemplate, {"text": one} if isinstance(one, str) else one, f"[{number}]")
        if not placeholders(prompt.text) <= {"name"}:
            raise ValueError(f"[{number}]: got {show(prompt.text)}; {{name}} stands for the domain's name, and no other braces are allowed")
        prompts.append(prompt)
    return Named(canonical([prompt.model_dump(mode="json") for prompt in prompts]), tuple(prompts))


def read_tokens(raw: Any) -> Named:
    """One token, or several that stand side by side."""
    tokens = [raw] if isinstance(raw, str) else nonempty_list(raw, "tokens, such as [<ada>]")
    try:
        adapter = TextualInversionAdapter(tokens=tuple(tokens))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "value_error":
            raise ValueError(explain(first)) from None
        wrong = first["loc"][-1]
        raise ValueError(f"[{wrong}]: got {show(first['input'])}; a token is a word in angle brackets, such as <ada>") from None
    return Named(" ".join(adapter.tokens), adapter.tokens)
