"""Tiny models that ship with S2L, as ordinary diffusers folders named by their content. Imports no torch: planning asks here."""

from __future__ import annotations

import difflib
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
CATALOG = FOLDER / "catalog.json"


@cache
def catalog() -> dict[str, Any]:
    """Every packaged model by name: `content`, `image_size`, `domains`, and how it was made under `made`."""
    models: dict[str, Any] = json.loads(CATALOG.read_text(encoding="utf-8"))["models"]
    return models


def packaged(name: str) -> Path:
    """The folder of a packaged model.

    Raises:
        ValueError: no such model is packaged.
    """
    _entry(name)
    return FOLDER / "weights" / name


def content(name: str) -> str:
    """The content digest of a packaged model, as the catalog says; `digest_of(packaged(name))` recomputes it.

    Raises:
        ValueError: no such model is packaged.
    """
    return str(_entry(name)["content"])


def digest_of(folder: Path) -> str:
    """The sha256 over sorted lines of relative name, two spaces and sha256."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    lines = (f"{name}  {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for name, path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _entry(name: str) -> dict[str, Any]:
    models = catalog()
    if name in models:
        entry: dict[str, Any] = models[name]
        return entry
    near = difflib.get_close_matches(name, models, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"no packaged model is named {name!r}: {hint}allowed: {', '.join(sorted(models))}")
