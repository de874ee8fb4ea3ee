"""The pages about methods say what is: every adapter and setting has its place, every example is one, every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import TypeAdapter

from s2l_core.specs.adapters import AdapterSpec, check_together
from s2l_core.specs.objectives import ObjectiveSpec

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "methods"
PAGES = sorted(FOLDER.glob("*.md"))
PRESETS = (
    "none",
    "dreambooth",
    "end2end",
    "lora",
    "lora+dreambooth",
    "textual-inversion",
    "textual-inversion+lora",
    "textual-inversion+dreambooth",
    "hypernetwork",
    "hypernetwork+dreambooth",
    "gaussian",
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_every_adapter_has_a_page_that_names_all_its_settings() -> None:
    for member in get_args(get_args(AdapterSpec)[0]):
        kind = member.model_fields["kind"].default
        text = (FOLDER / f"{kind}.md").read_text()
        assert [name for name in member.model_fields if name != "kind" and f"| `{name}` |" not in text] == [], kind


def test_the_index_names_every_preset_once_and_links_every_page() -> None:
    text = (FOLDER / "README.md").read_text()
    assert re.findall(r"^\| `([^`]+)` \| [^|]+\| [^|]*\| \[", text, re.MULTILINE) == list(PRESETS)
    assert {page.name for page in PAGES} - {"README.md"} <= set(re.findall(r"\]\(([^)]+)\)", text))


@every_page
def test_every_example_is_a_method(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        read = yaml.safe_load(block)
        adapters: tuple[AdapterSpec, ...] = TypeAdapter(tuple[AdapterSpec, ...]).validate_python(read.pop("adapters"))
        check_together(adapters)
        TypeAdapter(ObjectiveSpec).validate_python(read.pop("objective"))
        assert not read


@every_page
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in linked if not (page.parent / target).exists()] == []


@every_page
def test_a_page_about_a_method_says_where_it_is_from_and_what_it_leaves(page: Path) -> None:
    if page.name in ("README.md", "combinations.md"):
        return
    text = page.read_text().lower()
    assert "files" in text
    assert "source" in text
