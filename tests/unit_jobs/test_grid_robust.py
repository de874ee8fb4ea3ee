"""Whatever a grid file holds, the user reads a message: never another exception than GridError."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.errors import GridError
from jobs.grid.check import SECTIONS
from jobs.grid.inputs import LocalInputs
from jobs.grid.model import FIELDS
from jobs.grid.presets import METHODS
from jobs.grid.profile import LAID_OVER
from jobs.grid.read import parse_grid
from jobs.plan.expand import expand

WORDS = st.sampled_from(
    [
        "zorvik",
        "all",
        "match",
        "to-be-given:people",
        "<a>",
        "lora",
        "rank",
        "secmi",
        "kind",
        "name",
        "adapters",
        "objective",
        "null",
        "1e-3",
        "photo of {name}",
        "{",
        "t",
        "",
        *METHODS,
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-2, 3) | st.floats(width=16) | WORDS
KEYS = st.sampled_from([*FIELDS, *SECTIONS, "kind", "adapters", "t"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | WORDS, inner, max_size=3), max_leaves=6)
SETTINGS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3)
LISTS = st.dictionaries(st.sampled_from(FIELDS), st.lists(VALUES, max_size=3), max_size=3)
PROFILES = st.dictionaries(st.sampled_from(LAID_OVER), LISTS | SETTINGS | VALUES, max_size=3)
RIGHT = {"domain": ["zorvik"], "method": ["none", "lora"]}
GRIDS = st.fixed_dictionaries(
    {"name": st.just("g") | VALUES, "axes": LISTS.map(lambda lists: {**RIGHT, **lists}) | VALUES},
    optional={
        "fixed": SETTINGS | VALUES,
        "zip": LISTS | st.lists(LISTS, max_size=2) | VALUES,
        "when": st.dictionaries(st.sampled_from(FIELDS), SETTINGS | VALUES, max_size=2) | VALUES,
        "include": st.lists(SETTINGS, max_size=2) | VALUES,
        "exclude": st.lists(SETTINGS, max_size=2) | VALUES,
        "by_method": st.dictionaries(WORDS, SETTINGS | VALUES, max_size=2) | VALUES,
        "profiles": st.dictionaries(st.sampled_from(["tiny", "big"]), PROFILES | VALUES, max_size=2) | VALUES,
    },
)


class PackagedOnly(LocalInputs):
    """No folder and no hub: what a made-up word stands for is not looked up."""

    def domains(self, data: str) -> list[str]:
        return super().domains("tiny-faces")


@settings(deadline=None, derandomize=True, max_examples=200)
@given(GRIDS)
@example({"name": "g", "axes": {**RIGHT, "method": [{"name": []}]}})
def test_any_grid_is_read_or_refused_in_words(grid: dict[str, Any]) -> None:
    with contextlib.suppress(GridError):
        expand(parse_grid(json.dumps(grid), "g"), inputs=PackagedOnly())
    with contextlib.suppress(GridError):
        expand(parse_grid(json.dumps(grid), "g", profile="big"), inputs=PackagedOnly())


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda data: data.decode("latin-1")))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(GridError):
        parse_grid(text, "g", [f"seed={text}"])
    with contextlib.suppress(GridError):
        parse_grid("name: g\nfixed: {domain: zorvik, method: none}", "g", [text, f"lr={text}"])
