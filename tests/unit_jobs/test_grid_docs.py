"""The published schema and reference are what the models say, and the schema judges grids as the reader does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from jobs.grid.load import SHIPPED
from jobs.grid.model import FIELDS
from jobs.grid.read import parse_grid
from jobs.grid.reference import reference
from jobs.grid.schema import schema_text

DOCS = Path(__file__).resolve().parents[2] / "docs"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(schema_text()))


def test_the_published_schema_is_current() -> None:
    assert (DOCS / "grid-schema.json").read_text() == schema_text(), "run: python -m jobs.grid.schema > docs/grid-schema.json"


def test_the_published_reference_is_current() -> None:
    assert (DOCS / "grid-reference.md").read_text() == reference(), "run: python -m jobs.grid.reference > docs/grid-reference.md"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)


def test_the_reference_names_every_setting_and_its_example_is_a_grid() -> None:
    page = reference()
    assert all(f"| `{name}` |" in page for name in FIELDS)
    example = page.split("```yaml\n")[1].split("```")[0]
    assert parse_grid(example, "example").name == "ranks"
    VALIDATOR.validate(yaml.safe_load(example))


def test_the_example_of_profiles_is_a_grid_in_two_sizes() -> None:
    example = reference().split("```yaml\n")[2].split("```")[0]
    assert [parse_grid(example, "example", profile=profile).name for profile in ("tiny", "large")] == ["sizes", "sizes-large"]
    VALIDATOR.validate(yaml.safe_load(example))


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_grids_pass_the_schema(path: Path) -> None:
    VALIDATOR.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "grid",
    [
        {"name": "g", "axes": {"domain": ["a"], "method": ["none", {"adapters": [{"kind": "lora", "rank": 2}]}]}},
        {
            "name": "g",
            "fixed": {"attacks": ["secmi", {"kind": "pia", "t": 60, "name": "early"}], "lr": "1e-3", "alpha": "rank", "prior": True},
        },
        {"name": "g", "axes": {"attacks": [["secmi"], ["loss"]]}, "zip": [{"seed": [0, 1], "sp_seed": [0, 1]}]},
        {
            "name": "g",
            "when": {"rank": {"method": ["lora"]}},
            "include": [{"domain": ["a", "b"], "method": "none", "caption": {"kind": "null"}}],
        },
        {"name": "g", "fixed": {"sp_prompts": ["photo of {name}", {"text": "face of {name}", "weight": 2}], "prior": {"images": 9}}},
        {"name": "g", "fixed": {"clip": "none", "ema": 0.99, "snr_gamma": 5, "tokens": ["<a>", "<b>"], "attack_domain": "b", "rounds": 3}},
        {"name": "g", "axes": {"sigma": ["1e-3", 0.1, "match"]}, "fixed": {"match_method": {"adapters": [{"kind": "lora"}]}}},
        {"name": "g", "axes": {"extraction": ["none", "hog", {"features": {"kind": "clip", "model": "m"}, "keep": None}]}},
        {"name": "g", "by_method": {"lora": {"lr": "1e-4"}}, "profiles": {"tiny": {}, "big": {"axes": {"seed": [0]}, "fixed": {"lr": 1}}}},
    ],
)
def test_the_schema_accepts_what_the_reader_knows(grid: dict[str, Any]) -> None:
    VALIDATOR.validate(grid)


@pytest.mark.parametrize(
    "grid",
    [
        {},
        {"name": "a b"},
        {"name": "g", "axis": {}},
        {"name": "g", "axes": {"sed": [1]}},
        {"name": "g", "axes": {"seed": []}},
        {"name": "g", "axes": {"seed": [-1]}},
        {"name": "g", "axes": {"seed": 3}},
        {"name": "g", "fixed": {"lr": "fast"}},
        {"name": "g", "fixed": {"method": "dreamboth"}},
        {"name": "g", "fixed": {"attacks": ["secmy"]}},
        {"name": "g", "fixed": {"precision": "fp23"}},
        {"name": "g", "when": {"rank": "lora"}},
        {"name": "g", "by_method": {"lora": {"lr": [1, 2]}}},
        {"name": "g", "profiles": {"big": {"name": "x"}}},
        {"name": "g", "profiles": {"big": {"axes": {"seed": 3}}}},
        {"name": "g", "fixed": {"sigma": -1}},
        {"name": "g", "fixed": {"sigma": "matched"}},
        {"name": "g", "fixed": {"tokens": ["s2l"]}},
        {"name": "g", "fixed": {"extraction": "clip"}},
        {"name": "g", "fixed": {"extraction": {"candidates": 9}}},
        {"name": "g", "fixed": {"extraction": {"features": "hog", "threshold": 2}}},
        {"name": "g", "include": {"method": "none"}},
        {"name": "g", "fixed": {"method": {"adapters": [{"kind": "lora", "rnk": 3}]}}},
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(grid: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(grid)
