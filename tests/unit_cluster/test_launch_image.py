"""docker/Dockerfile without an engine: what it copies is there, what it installs is pinned, who runs it is nobody special."""

from __future__ import annotations

import re

import pytest

from tests.compose_bed import ROOT

TEXT = (ROOT / "docker/Dockerfile").read_text()
JOINED = re.sub(r"\\\n\s*", " ", "\n".join(line for line in TEXT.splitlines() if not line.startswith("#")))
STEPS = [line.split(maxsplit=1) for line in JOINED.splitlines() if line.strip()]
WORDS = {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "CMD"}


def steps(word: str) -> list[str]:
    return [rest for name, rest in STEPS if name == word]


def test_every_line_is_an_instruction() -> None:
    assert {name for name, _ in STEPS} == WORDS


def test_what_is_copied_is_there_and_not_left_out_of_the_build() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [source for line in steps("COPY") if not line.startswith("--from") for source in line.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source in kept, f"{source} is ignored by .dockerignore"


def test_the_packages_of_the_project_are_all_copied() -> None:
    wanted = re.findall(r'"(\w+)\*"', (ROOT / "pyproject.toml").read_text())
    assert set(wanted) <= {line.split()[0] for line in steps("COPY")}


def test_all_that_pip_installs_is_pinned() -> None:
    for line in steps("RUN"):
        for command in re.findall(r"pip install ([^&;]*)", line):
            words = re.sub(r'--(index-url|extra-index-url) "\$\w+"', "", command)
            named = re.sub(r"\"\$\(grep '\^([a-z-]+)==' requirements(-dev)?\.txt\)\"", "", words).split()
            assert set(named) <= {"-r", "requirements.txt", "--no-deps", "--no-build-isolation", "."}, command
    for name, file in re.findall(r"grep '\^([a-z-]+)==' (requirements(?:-dev)?\.txt)", JOINED):
        assert re.search(rf"^{name}==", (ROOT / file).read_text(), re.MULTILINE)


def test_python_is_that_of_the_pins() -> None:
    assert "Python 3.11" in (ROOT / "requirements.txt").read_text()
    assert re.search(r"ARG PYTHON=python:3\.11-", TEXT)


def test_it_runs_as_a_user_without_rights_and_holds_no_secret() -> None:
    assert steps("USER") == ["10001:10001"]
    assert [name for name, _ in STEPS].index("USER") > max(index for index, (name, _) in enumerate(STEPS) if name == "RUN")
    assert not re.search(r"(?i)(password|secret|token|access_key)\w*=\S", JOINED)


@pytest.mark.parametrize("name", ["s2l_core", "jobs", "cluster", "dashboards", "docker/start"])
def test_no_credentials_file_can_slip_into_a_build(name: str) -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert f"!{name}" in ignore
    assert not list((ROOT / name).rglob(".env"))
