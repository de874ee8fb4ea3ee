"""How numbers, lists and the settings of a grid are said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.keys import canonical_json

MAX_VALUE = 48


def short(value: float) -> str:
    """A signed number with three digits. Zero alone has no sign: an interval that ends just below it must not look as if it held it."""
    return f"{value:+.3f}".replace("-", "−") if value else "0.000"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`, each once; after six, how many more there are. Names that hold commas are parted by semicolons."""
    names = list(dict.fromkeys(names))
    head = names[:6] + ([f"{len(names) - 6} more"] if len(names) > 6 else [])
    between = "; " if any("," in name for name in head) else ", "
    return head[0] if len(head) == 1 else f"{between.join(head[:-1])}{';' if between == '; ' else ''} and {head[-1]}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def value_words(value: Any) -> str:
    """A setting's value in few words: numbers as in the grid file, structured values by their name or their texts."""
    if isinstance(value, float):
        return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")
    if isinstance(value, dict):
        named = value.get("name") or value.get("text")
        text = str(named) if named else canonical_json(value)
    elif isinstance(value, list | tuple):
        text = " / ".join(value_words(each) for each in value)
    else:
        text = str(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def setting_words(name: str, value: Any) -> str:
    """`rank 8`, but `alpha = rank`: a word needs a sign to be told from the setting's name."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{name} {value_words(value)}" if number else f"{name} = {value_words(value)}"
