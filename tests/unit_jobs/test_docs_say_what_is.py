"""The README and the guides name commands, targets, files and settings that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from jobs.cli.main import s2l
from jobs.grid.read import read_grid
from jobs.plan.expand import expand

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)


def commands(text: str) -> list[list[str]]:
    """The words after `s2l` wherever a page shows the command."""
    lines = re.findall(r"(?:^|\n)\s*(?:\.venv/bin/)?s2l ([a-z][^\n#`]*)", text) + re.findall(r"`s2l ([a-z][^`]*)`", text)
    return [shlex.split(line) for line in lines]


@PAGES
def test_every_command_shown_exists_with_its_options(page: Path) -> None:
    for words in commands(page.read_text()):
        command: click.Command = s2l
        while isinstance(command, click.Group):
            assert words[0] in command.commands, f"{page.name}: s2l {' '.join(words)}"
            command, words = command.commands[words[0]], words[1:]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, f"{page.name}: {' '.join(words)}"


@PAGES
def test_every_make_target_shown_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = re.findall(r"(?:^|`)make ([a-z -]+?)(?:\s*#|`|$)", page.read_text(), re.MULTILINE)
    assert {target for line in lines for target in line.split()} <= targets


@PAGES
def test_every_file_linked_to_is_there(page: Path) -> None:
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    pictures = {"docs/images/report.png"} if not (ROOT / "docs/images").exists() else set()
    assert [target for target in linked if target not in pictures and not (page.parent / target).exists()] == []


def test_the_grid_in_the_readme_can_be_planned(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    grid = tmp_path / "my-grid.yaml"
    grid.write_text(text)
    assert len(expand(read_grid(str(grid), ())).trials) >= 6


def test_the_makefile_says_what_its_targets_do_and_the_ci_calls_only_them() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    for target in phony.split():
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail"
    assert all(line.startswith(("make ", "cd ", "set ")) for line in lines)


def test_requirements_are_pinned_and_name_no_machine_and_no_host() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith(("#", "-r "))]
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    assert "torch==2.13.0" in (ROOT / "requirements.txt").read_text().splitlines()
