"""The package that is installed holds what is no Python: grids, templates, the tiny model."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("s2l_core", "jobs", "cluster", "dashboards")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in a wheel that is built from a copy, so that nothing is left in the tree."""
    copy = tmp_path_factory.mktemp("copy")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels", "."]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (wheel,) = (copy / "wheels").glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_file_of_the_packages_is_in_the_wheel(packed: set[str]) -> None:
    files = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()}
    kept = {name for name in files if not name.endswith(".pyc") and "/." not in name}
    assert kept - packed == set()


def test_the_wheel_holds_nothing_else(packed: set[str]) -> None:
    assert {name.partition("/")[0] for name in packed if ".dist-info/" not in name} == set(PACKAGES)
