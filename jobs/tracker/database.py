"""A SQLite file that is whole or not there: MLflow builds its tables in many steps and does not recover from being killed in between."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


def ensure_database(path: Path, build: Callable[[Path], None]) -> None:
    """Have a database at the path: build it beside, under a lock, and give it its name when it is whole.

    Args:
        build: makes a database at the path it is given, and closes it.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not path.exists():
            beside = path.with_name(f".{path.name}.new")
            beside.unlink(missing_ok=True)  # of a builder that was killed
            build(beside)
            os.rename(beside, path)
