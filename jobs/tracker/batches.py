"""Cutting what a run shows into calls that MLflow takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def batches(*columns: tuple[list[Any], int]) -> Iterator[list[list[Any]]]:
    """Calls that carry all columns, each given with its limit a call; the shorter columns go with the last calls, in order."""
    calls = max(-(-len(values) // size) for values, size in columns)
    for left in range(calls, 0, -1):
        yield [_part(values, size, left) for values, size in columns]


def _part(values: list[Any], size: int, left: int) -> list[Any]:
    chunks = [values[start : start + size] for start in range(0, len(values), size)]
    return chunks[-left] if left <= len(chunks) else []
