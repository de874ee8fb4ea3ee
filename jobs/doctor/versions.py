"""Which software a node has, in a form that two nodes can compare: results are only alike where it is."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

COMPARED = ("s2l", "torch", "ray", "diffusers", "transformers", "peft", "accelerate", "numpy")
_PACKAGES = ("s2l_core", "jobs", "cluster")


def installed() -> dict[str, str]:
    """Versions by name: Python, the packages that results hang on, and `code`, a hash of S2L's own source."""
    found = {"python": platform.python_version(), "code": _code()}
    for name in COMPARED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def differences(node: Mapping[str, str], driver: Mapping[str, str]) -> list[str]:
    """`torch 2.12.0, here 2.13.0`, for whatever is not the same."""
    return [f"{name} {node.get(name, 'missing')}, here {here}" for name, here in driver.items() if node.get(name) != here]


def _code() -> str:
    """Two checkouts of one version can differ."""
    digest = hashlib.sha256()
    for name in _PACKAGES:
        spec = find_spec(name)
        for folder in map(Path, spec.submodule_search_locations or () if spec else ()):
            for path in sorted(folder.rglob("*.py")):
                digest.update(f"{name}/{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
